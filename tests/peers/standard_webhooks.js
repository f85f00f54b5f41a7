// A subscriber as https://www.standardwebhooks.com describes one, with the official library for
// JavaScript: 200 for what it verifies, 401 for the rest.
//
// Arguments: port (0 = any free one) and the `whsec_` secret. Its first line is `listening on
// 127.0.0.1:PORT`; after that each verified request is one line, its webhook-id and its body's SHA-256.
// The library is found through NODE_PATH.
'use strict';

const crypto = require('crypto');
const http = require('http');
const { Webhook } = require('standardwebhooks');

const webhook = new Webhook(process.argv[3]);

const server = http.createServer((req, res) => {
  const parts = [];
  req.on('data', (part) => parts.push(part));
  req.on('end', () => {
    const body = Buffer.concat(parts);
    try {
      // Whether the body is good JSON is the application's business.
      webhook.verify(body, req.headers, { jsonParse: false });
      const hash = crypto.createHash('sha256').update(body).digest('hex');
      console.log(`${req.headers['webhook-id']} ${hash}`);
      res.statusCode = 200;
    } catch (error) {
      console.error(error.message);
      res.statusCode = 401;
    }
    res.end();
  });
});

server.listen(Number(process.argv[2]), '127.0.0.1', () => {
  console.log(`listening on 127.0.0.1:${server.address().port}`);
});
process.on('SIGTERM', () => process.exit(0));
