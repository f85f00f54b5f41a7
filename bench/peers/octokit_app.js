// The receiver as the documentation of @octokit/webhooks gives it: its Node.js middleware on a plain
// http server, and a handler that counts. The package is found through NODE_PATH. GitHub signs with
// X-Hub-Signature-256, so the load generator does the same here.
//
// Ours is only what the benchmark needs: the port as an argument, an end on SIGTERM.
'use strict';

const http = require('http');

// The package is an ES module, which NODE_PATH does not reach: it is found as `require` would.
const path = require('path');
const { pathToFileURL } = require('url');

async function main() {
  const folder = path.join(process.env.NODE_PATH, '@octokit', 'webhooks');
  const manifest = require(path.join(folder, 'package.json'));
  const entry = manifest.exports['.'];
  const file = path.join(folder, entry.import ?? entry.default);
  const { Webhooks, createNodeMiddleware } = await import(pathToFileURL(file));

  const webhooks = new Webhooks({ secret: 'your-secret-key' });
  let length = 0;
  webhooks.on('push', ({ payload }) => { length += payload.message.length; });

  const middleware = createNodeMiddleware(webhooks, { path: '/webhook' });
  http.createServer(middleware).listen(Number(process.argv[2]), '127.0.0.1');
  process.on('SIGTERM', () => process.exit(0));
}

main();
