// The receiver as the gateway's documentation gives it in Node.js: its Express example, with the
// signature verification that it has only in Python put into Node's words. As there, a missing header
// throws; so does a signature of another length. The conformance test holds offhook against it.
//
// Ours is only what a test needs: port (argument or PORT; 0 = any free one), a first line
// `listening on 127.0.0.1:PORT`, an end on SIGTERM. Express is found through NODE_PATH.
'use strict';

const crypto = require('crypto');
const express = require('express');
const app = express();

function verifySignature(payload, signature, secret) {
  const expected = crypto
    .createHmac('sha256', secret)
    .update(payload)
    .digest('hex');
  return crypto.timingSafeEqual(Buffer.from(expected), Buffer.from(signature));
}

app.use(express.json({
  verify: (req, res, buf) => {
    req.rawBody = buf;
  },
}));

app.post('/webhook', (req, res) => {
  const signature = req.get('X-Webhook-Signature');

  if (!verifySignature(req.rawBody, signature, 'your-secret-key')) {
    return res.status(401).json({ error: 'Invalid signature' });
  }

  const { event, sessionId } = req.body;

  switch(event) {
    case 'message':
      console.log(`New message from ${req.body.from}: ${req.body.message}`);
      // Process message
      break;

    case 'status':
      console.log(`Message ${req.body.messageId} status: ${req.body.status}`);
      // Handle status update
      break;

    case 'connection':
      console.log(`Connection status: ${req.body.status}`);
      // Handle connection change
      break;
  }

  res.json({ status: 'received' });
});

const port = Number(process.argv[2] ?? process.env.PORT ?? 5000);
const server = app.listen(port, '127.0.0.1', () => {
  console.log(`listening on 127.0.0.1:${server.address().port}`);
});
process.on('SIGTERM', () => process.exit(0));
