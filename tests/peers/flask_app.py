"""The receiver as the gateway's documentation gives it in Python: its Flask example with its
signature verification put in front, bugs included. The conformance test holds offhook against it.

Ours is only what a test needs: port (argument or PORT; 0 = any free one), a first line
`listening on 127.0.0.1:PORT`, no request log, stdout flushed line by line, an end on SIGTERM.
"""

import hashlib
import hmac
import logging
import os
import signal
import sys

from flask import Flask, jsonify, request
from werkzeug.serving import make_server

app = Flask(__name__)


def verify_signature(payload, signature, secret):
    expected = hmac.new(
        secret.encode(),
        payload.encode(),
        hashlib.sha256
    ).hexdigest()
    return hmac.compare_digest(expected, signature)


@app.route('/webhook', methods=['POST'])
def webhook():
    signature = request.headers.get('X-Webhook-Signature')
    payload = request.get_data(as_text=True)

    if not verify_signature(payload, signature, 'your-secret-key'):
        return jsonify({"error": "Invalid signature"}), 401

    data = request.json
    event = data.get('event')

    if event == 'message':
        print(f"New message from {data['from']}: {data['message']}")
        # Process message

    elif event == 'status':
        print(f"Message {data['messageId']} status: {data['status']}")
        # Handle status update

    elif event == 'connection':
        print(f"Connection status: {data['status']}")
        # Handle connection change

    return jsonify({"status": "received"}), 200


if __name__ == '__main__':
    port = int(sys.argv[1] if len(sys.argv) > 1 else os.environ.get('PORT', '5000'))
    sys.stdout.reconfigure(line_buffering=True)
    logging.getLogger('werkzeug').setLevel(logging.ERROR)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    # What app.run() does, but it tells the port that was bound.
    server = make_server('127.0.0.1', port, app, threaded=True)
    print(f"listening on 127.0.0.1:{server.port}")
    server.serve_forever()
