// The official libraries sign one body, and verify what offhook has signed.
//
// Standard input is JSON: {"key", "whsec", "body", "form", "url", "now", "ours": {scheme: {header: value}}}, header names
// in lower case. Each line of the output is JSON: {"scheme", "signed": {header: value}, "accepts": bool}. Where a library
// only verifies, `signed` is made here and the library must take it. The libraries are found through NODE_PATH.
'use strict';

const { createHmac } = require('crypto');
const { createRequire } = require('module');
const path = require('path');
const { pathToFileURL } = require('url');

const modules = process.env.NODE_PATH;
const inside = createRequire(path.join(modules, 'x.js'));

async function main() {
  let text = '';
  for await (const part of process.stdin) text += part;
  const { key, whsec, body, form, url, now, ours } = JSON.parse(text);
  const accepts = async (verify) => {
    try {
      return (await verify()) !== false;
    } catch (error) {
      console.error(error.message);
      return false;
    }
  };
  const say = (scheme, accepted, signed) => console.log(JSON.stringify({ scheme, signed, accepts: accepted }));

  const octokit = await import(pathToFileURL(path.join(modules, '@octokit/webhooks-methods/dist-node/index.js')));
  say('github', await accepts(() => octokit.verify(key, body, ours.github['x-hub-signature-256'])), {
    'X-Hub-Signature-256': await octokit.sign(key, body),
  });

  const Stripe = inside('stripe');
  const { webhooks } = new (Stripe.default || Stripe)('sk_test_x');
  say('stripe', await accepts(() => webhooks.constructEvent(body, ours.stripe['stripe-signature'], key)), {
    'Stripe-Signature': webhooks.generateTestHeaderString({ payload: body, secret: key, timestamp: now }),
  });

  const bolt = inside(path.join(modules, '@slack/bolt/dist/receivers/verify-request.js'));
  const ofSlack = (headers) => accepts(() => {
    bolt.verifySlackRequest({ signingSecret: key, body, headers });
  });
  const digest = createHmac('sha256', key).update(`v0:${now}:${body}`).digest('hex');
  const slack = { 'x-slack-request-timestamp': String(now), 'x-slack-signature': `v0=${digest}` };
  say('slack', await ofSlack(ours.slack) && await ofSlack(slack), slack);

  const twilio = inside(path.join(modules, 'twilio/lib/webhooks/webhooks.js'));
  const fields = Object.fromEntries(new URLSearchParams(form));
  say('twilio', await accepts(() => twilio.validateRequest(key, ours.twilio['x-twilio-signature'], url, fields)), {
    'X-Twilio-Signature': twilio.getExpectedTwilioSignature(key, url, fields),
  });

  const line = inside(path.join(modules, '@line/bot-sdk'));
  const ofLine = (signature) => accepts(() => line.validateSignature(body, key, signature));
  const signature = createHmac('sha256', key).update(body).digest('base64');
  say('line', await ofLine(ours.line['x-line-signature']) && await ofLine(signature), { 'X-Line-Signature': signature });

  const { Webhook } = inside('svix');
  const webhook = new Webhook(whsec);
  const standard = ours['standard-webhooks'];
  say('standard-webhooks', await accepts(() => webhook.verify(body, standard)), {
    'webhook-id': 'msg_1',
    'webhook-timestamp': String(now),
    'webhook-signature': webhook.sign('msg_1', new Date(now * 1000), body),
  });

  const jwt = inside('jsonwebtoken');
  const bearer = ours['evolution-jwt'].authorization.slice('Bearer '.length);
  const claims = { iat: now, exp: now + 600, app: 'evolution', action: 'webhook' };
  say('evolution-jwt', await accepts(() => jwt.verify(bearer, key, { algorithms: ['HS256'] })), {
    Authorization: `Bearer ${jwt.sign(claims, key, { algorithm: 'HS256' })}`,
  });
}

main();
