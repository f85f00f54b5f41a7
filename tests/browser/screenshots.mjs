// The two pictures in README.md: `./test screenshots` writes them again into docs/.
//
// The server, what it has received and what its subscribers answer are always the same. Ids and times are not: the
// page's clock is set so long after the newest event, and in the terminal ids are replaced by others.

import { spawn } from "node:child_process";
import { createHmac } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { setTimeout as pause } from "node:timers/promises";
import { chromium } from "playwright-core";

import { shown, tab } from "./checks.mjs";
import { Served, TOKEN } from "./served.mjs";
import { picture } from "./terminal.mjs";

const { OFFHOOK, DOCS, CHROMIUM = "/usr/bin/chromium" } = process.env;
const SESSION = "408f7372";

/** A subscriber that answers so, on this port if that is free. */
async function subscriber(port, status, text) {
  const server = createServer((request, answer) => {
    request.resume().on("end", () => answer.writeHead(status, { "Content-Type": "text/plain" }).end(text));
  });
  await new Promise((resolve) => {
    server.once("error", () => server.listen(0, "127.0.0.1", resolve)).listen(port, "127.0.0.1", resolve);
  });
  return { server, url: `http://127.0.0.1:${server.address().port}/hooks/orders` };
}

function handlers({ good, bad }) {
  const subscription = (name, url, retry) => `
[[subscriptions]]
name = "${name}"
webhook_url = "${url}"
events = ["message"]
secret = "secret-of-${name}"
retry = ${retry}
`;
  return `
[[handlers]]
name = "archive"
use = "jsonl"
path = "archive.jsonl"
[relay]
allow_private = true
${subscription("bot", good.url, '{ attempts = 3 }')}
${subscription("crm", bad.url, '{ first = "100ms", factor = 3.0, attempts = 4, jitter = 0.0 }')}`;
}

async function receive(served) {
  const told = [
    ["+447700900101", "Hello! Is my order on its way?"], ["+447700900102", "Which days are you open?"], ["+447700900101", "It is order 1042."],
    ["+447700900103", "Thank you, the parcel is here."], ["+447700900102", "And on Sunday?"],
  ];
  await served.send({ event: "connection", sessionId: SESSION, status: "connected", timestamp: "2026-01-08T12:00:00.000Z" });
  for (const [index, [from, message]] of told.entries()) {
    const messageId = `3EB0C767D0F2B64C7C5${index}`;
    const timestamp = `2026-01-08T12:0${index}:00.000Z`;
    await served.send({ event: "message", sessionId: SESSION, messageId, from, message, type: "text", timestamp });
    for (const status of index % 2 ? ["delivered"] : ["delivered", "read"]) {
      await served.send({ event: "status", sessionId: SESSION, messageId, status, timestamp });
    }
  }
  // Signed as a sender does that writes base64 in place of hexadecimal digits.
  for (const index of [1, 2, 3]) {
    const body = JSON.stringify({ event: "message", sessionId: SESSION, messageId: `R${index}`, from: "+447700900104", message: "Anybody there?" });
    const signature = createHmac("sha256", "key-of-the-browser-tests").update(body).digest("base64");
    const headers = { "Content-Type": "application/json", "User-Agent": "gateway/2.1", "X-Webhook-Signature": signature };
    await fetch(`http://${served.public}/webhook`, { method: "POST", body, headers });
  }
  // Until crm has given up on all, and the refused requests are explained.
  for (let tried = 0; tried < 300; tried++) {
    const [{ dead }, { refused }] = [await served.api("api/dead"), await served.api("api/refused")];
    if (dead.length === told.length && refused.every((one) => one.explained)) return;
    await pause(100);
  }
  throw new Error(`not all is done: ${served.log}`);
}

/** What a command prints in a terminal that has colours. */
async function printed(served, ...command) {
  const env = { PATH: process.env.PATH, HOME: process.env.HOME, TZ: "UTC", CLICOLOR_FORCE: "1", COLUMNS: "110" };
  const child = spawn(OFFHOOK, [...command, "--admin", served.base, "--token", TOKEN], { cwd: served.folder, env, stdio: ["ignore", "pipe", "inherit"] });
  let text = "";
  child.stdout.on("data", (bytes) => { text += bytes; });
  const status = await new Promise((resolve) => child.on("exit", resolve));
  if (status !== 0) throw new Error(`offhook ${command.join(" ")}: exit status ${status}`);
  return text;
}

const good = await subscriber(3000, 200, "ok");
const bad = await subscriber(3001, 500, "orders: no database");
const served = await Served.start(OFFHOOK, "empty", handlers({ good, bad }));
try {
  await receive(served);
  const { events } = await served.api("api/events?event=message");
  const commands = [["events", "--limit", "6"], ["consumers"], ["refused"]];
  const steps = [];
  for (const command of commands) steps.push({ command: `offhook ${command.join(" ")}`, text: await printed(served, ...command) });
  await writeFile(`${DOCS}/terminal.svg`, picture(steps));

  const browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox"] });
  const { page } = await tab(browser, { base: served.base, token: TOKEN });
  await page.clock.setFixedTime(Date.parse(events[0].received_at) + 8000);
  await page.goto(`${served.base}events/${events.at(-1).id}`);
  await shown(page);
  await page.screenshot({ path: `${DOCS}/dashboard.png` });
  await browser.close();
} finally {
  await served.stop();
  for (const { server } of [good, bad]) server.close();
}
