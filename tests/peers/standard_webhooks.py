"""A subscriber as https://www.standardwebhooks.com describes one, with the official library for
Python: 200 for what it verifies, 401 for the rest.

Arguments: port (0 = any free one) and the `whsec_` secret. Its first line is `listening on
127.0.0.1:PORT`; after that each verified request is one line, its webhook-id and its body's SHA-256.
"""

import hashlib
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

webhook = Webhook(sys.argv[2])


class Subscriber(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def do_POST(self):
        body = self.rfile.read(int(self.headers['Content-Length']))
        try:
            # Whether the body is good JSON is the application's business.
            webhook.verify(body, dict(self.headers), json_parse=False)
            print(self.headers['webhook-id'], hashlib.sha256(body).hexdigest())
            status = 200
        except WebhookVerificationError as error:
            print(error, file=sys.stderr)
            status = 401
        self.send_response(status)
        self.send_header('Content-Length', '0')
        self.end_headers()

    def log_message(self, *_):
        pass


sys.stdout.reconfigure(line_buffering=True)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
server = ThreadingHTTPServer(('127.0.0.1', int(sys.argv[1])), Subscriber)
server.daemon_threads = True
print(f'listening on 127.0.0.1:{server.server_port}')
server.serve_forever()
