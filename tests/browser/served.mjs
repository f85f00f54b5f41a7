// `offhook serve` on free ports and a folder of its own, in one of three states.

import { spawn } from "node:child_process";
import { createHmac } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";

export const TOKEN = "token-of-the-administrator";
export const VIEWER = "token-of-the-viewer";
const KEY = "key-of-the-browser-tests";

/** Texts that must stay texts: as session ids, names, senders, messages, header values. */
export const HOSTILE = [
  `<img src=x onerror="window.hostile=1">`,
  `"><script>window.hostile=2</script>`,
  `' autofocus onfocus=window.hostile=3 x='`,
  `javascript:window.hostile=4`,
  `{{constructor.constructor('window.hostile=5')()}}`,
  `</title><svg onload=window.hostile=6>`,
  `\u202egnp.exe \u0000\u0007 &amp; &lt;b&gt;`,
  `../../ui/settings?x=1#`,
];

const HANDLERS = `
[[handlers]]
name = "archive"
use = "jsonl"
path = "archive.jsonl"

[[handlers]]
name = "gives-up"
use = "exec"
command = ["false"]
sessions = ["shop"]
order = "none"
retry = { first = "10ms", factor = 1.0, attempts = 2, jitter = 0.0 }

[[handlers]]
name = "keeps-trying"
use = "exec"
command = ["false"]
sessions = ["shop"]
retry = { first = "1h", factor = 1.0, attempts = 100, jitter = 0.0 }

[relay]
allow_private = true

[[subscriptions]]
name = "crm"
webhook_url = "http://127.0.0.1:1/hooks/0123456789abcdef0123456789abcdef?token=hidden"
events = ["message"]
secret = "secret-of-the-crm"
retry = { first = "1h", factor = 1.0, attempts = 100, jitter = 0.0 }
`;

export class Served {
  /** Starts a server: "empty", "seeded", or "broken"; or an empty one with these handlers and subscriptions. */
  static async start(program, state, handlers = state === "empty" ? "" : HANDLERS) {
    const folder = await mkdtemp(join(tmpdir(), "offhook-browser-"));
    const settings = `
[server]
bind = "127.0.0.1:0"
[admin]
bind = "127.0.0.1:0"
token = "${TOKEN}"
viewer_token = "${VIEWER}"
[journal]
path = "journal"
[[sources]]
name = "codeskytz"
secrets = ["${KEY}"]
${handlers}`;
    await writeFile(join(folder, "settings.toml"), settings);
    const env = { PATH: process.env.PATH, HOME: process.env.HOME };
    const child = spawn(program, ["serve"], { cwd: folder, env, stdio: ["ignore", "ignore", "pipe"] });
    const served = new Served(folder, child);
    await served.addresses();
    if (state !== "empty") await served.seed();
    if (state === "broken") await served.breakJournal();
    return served;
  }

  constructor(folder, child) {
    this.folder = folder;
    this.child = child;
    this.log = "";
    child.stderr.on("data", (bytes) => { this.log += bytes; });
    this.ended = new Promise((resolve) => child.on("exit", resolve));
  }

  async addresses() {
    for (let tried = 0; tried < 600; tried++) {
      this.public = this.log.match(/webhooks +http:\/\/([0-9.:]+)\//)?.[1];
      this.admin = this.log.match(/admin +http:\/\/([0-9.:]+)\//)?.[1];
      if (this.public && this.admin) return;
      await pause(100);
    }
    throw new Error(`the server does not start: ${this.log}`);
  }

  get base() {
    return `http://${this.admin}/`;
  }

  /** Sends a signed body; returns the status. */
  async send(body, headers = {}) {
    const bytes = typeof body === "string" || Buffer.isBuffer(body) ? body : JSON.stringify(body);
    const signature = createHmac("sha256", KEY).update(bytes).digest("hex");
    const answer = await fetch(`http://${this.public}/webhook`, {
      method: "POST",
      body: bytes,
      headers: { "Content-Type": "application/json", ...headers, "X-Webhook-Signature": signature },
    });
    return answer.status;
  }

  /** Sends what is refused: signed in another way, or to another path. */
  async refused(text, index) {
    const body = JSON.stringify({ event: "message", sessionId: text, messageId: `R${index}`, message: text });
    const digest = createHmac("sha256", KEY).update(body).digest("base64");
    const name = text.replace(/[^\x20-\x7e]/g, "");
    const headers = { "Content-Type": "application/json", "User-Agent": name };
    const to = `http://${this.public}/webhook`;
    await fetch(to, { method: "POST", body, headers: { ...headers, "X-Webhook-Signature": digest } });
    await fetch(to, { method: "POST", body, headers: { ...headers, "X-Hub-Signature-256": `sha256=${digest}` } });
    await fetch(`http://${this.public}/${encodeURIComponent(text)}`, { headers });
  }

  async api(path, method = "GET") {
    const answer = await fetch(`http://${this.admin}/${path}`, { method, headers: { Authorization: `Bearer ${TOKEN}` } });
    return answer.json();
  }

  async seed() {
    const at = (minute) => new Date(Date.UTC(2026, 0, 8, 12, minute)).toISOString();
    for (let index = 0; index < 60; index++) {
      const session = index % 3 ? "shop" : "support";
      const message = index % 7 ? `Where is my order ${1000 + index}? I have waited since Monday, and nobody answers the phone.` : "Hello!";
      await this.send({ event: "message", sessionId: session, messageId: `M${index}`, from: `+44770090${1000 + (index % 4)}`, message, type: "text", timestamp: at(index) });
    }
    for (const status of ["delivered", "read"]) {
      await this.send({ event: "status", sessionId: "support", messageId: "M57", status, timestamp: at(59) });
    }
    await this.send({ event: "connection", sessionId: "support", status: "connected", timestamp: at(59) });
    await this.send({ event: "message", sessionId: "support", messageId: "media", from: "+447700901000", type: "image", mediaUrl: "https://elsewhere.example/a.png", caption: "The parcel", timestamp: at(59) });
    for (const [index, text] of HOSTILE.entries()) {
      await this.send({ event: "message", sessionId: text, messageId: `H${index}`, from: text, message: text, type: text, timestamp: at(59) });
      await this.send({ event: text, sessionId: "support", [text]: text });
    }
    await this.send(Buffer.from([0, 1, 2, 250, 251, 252]));
    await this.send("<b>not JSON</b> ".repeat(3000));
    for (const [index, text] of HOSTILE.entries()) await this.refused(text, index);
    await this.send({ event: "message", sessionId: "support", messageId: "M0", from: "+447700901000", message: "Hello!", type: "text", timestamp: at(0) });
    // The newest with words of a person.
    const { events } = await this.api("api/events?event=message&session=support&limit=20");
    this.event = events.find((event) => !event.duplicate_of && event.bytes > 150)?.id;
    this.refusal = (await this.api("api/refused?source=codeskytz&limit=1")).refused[0].id;
    for (let tried = 0; tried < 300; tried++) {
      const { dead } = await this.api("api/dead");
      const { consumers } = await this.api("api/consumers");
      if (dead.length >= 40 && consumers.some((one) => one.name.endsWith(":crm") && one.failing_since)) return;
      await pause(100);
    }
    throw new Error(`the handlers did not give up: ${this.log}`);
  }

  /** Takes the journal's files away, as a careless administrator does. */
  async breakJournal() {
    await rm(join(this.folder, "journal"), { recursive: true });
    const status = await this.send({ event: "message", sessionId: "a", messageId: "lost", from: "+1", message: "x" });
    if (status !== 503) throw new Error(`a broken journal answers ${status}`);
  }

  async stop() {
    this.child.kill("SIGTERM");
    await Promise.race([this.ended, pause(5000).then(() => this.child.kill("SIGKILL"))]);
    await this.ended;
    await rm(this.folder, { recursive: true, force: true });
  }
}
