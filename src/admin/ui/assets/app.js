// The dashboard: fetches fragments that the server renders, and puts them into the page.
//
// It makes no HTML: what senders write arrives escaped by the server, through the one policy below.

const base = new URL(document.baseURI);
const trusted = globalThis.trustedTypes?.createPolicy("offhook", { createHTML: (text) => text });

const $ = (selector, within = document) => within.querySelector(selector);
const $$ = (selector, within = document) => [...within.querySelectorAll(selector)];
const main = $("main");
const panel = $("#panel");
const confirmation = $("#confirm");

function nodes(text) {
  const html = trusted ? trusted.createHTML(text) : text;
  const body = new DOMParser().parseFromString(html, "text/html").body;
  tellTimes(body);
  return [...body.childNodes];
}

let saying;

/** Tells what has happened, for a while. */
function say(text, isBad = false) {
  const said = $("#said");
  said.textContent = text;
  said.classList.toggle("is-bad", isBad);
  clearTimeout(saying);
  saying = setTimeout(() => { said.textContent = ""; }, isBad ? 30_000 : 10_000);
}

// Requests

const TOKEN = "offhook-token";
let asking = null;

/** Sends a request with the token, which is asked for where the server wants one. */
async function send(method, path, body = undefined, signal = undefined, more = {}) {
  for (;;) {
    const headers = { ...more };
    const token = sessionStorage.getItem(TOKEN);
    if (token) headers.Authorization = `Bearer ${token}`;
    if (body !== undefined) headers["Content-Type"] = "application/json";
    const answer = await fetch(new URL(path, base), {
      method, headers, signal,
      body: body === undefined ? undefined : JSON.stringify(body),
      cache: "no-store", credentials: "omit", redirect: "error",
    }).catch((error) => {
      if (signal?.aborted) throw error;
      connected("off", "no connection");
      throw new Error("The server cannot be reached.");
    });
    if ($("#connection").dataset.state === "off") connected("on", "connected");
    if (answer.status !== 401) return answer;
    await askForToken(token ? "The token is not right." : "");
  }
}

async function problem(answer) {
  const told = await answer.json().catch(() => null);
  const text = told?.problems?.join("\n") ?? told?.error ?? `The server answered ${answer.status}.`;
  return Object.assign(new Error(text), { status: answer.status });
}

/** Shows the form for the token over the page. */
function askForToken(why) {
  asking ??= new Promise((resolve) => {
    const dialog = $("#token");
    const form = $("form", dialog);
    $("output", dialog).textContent = why;
    form.elements.token.value = "";
    if (!dialog.open) dialog.showModal();
    form.onsubmit = (event) => {
      event.preventDefault();
      const token = form.elements.token.value.trim();
      if (!/^[\x21-\x7e]+$/.test(token)) {
        $("output", dialog).textContent = "A token is visible ASCII without spaces.";
        return;
      }
      sessionStorage.setItem(TOKEN, token);
      asking = null;
      dialog.close();
      resolve(undefined);
    };
    dialog.oncancel = (event) => event.preventDefault();
  });
  return asking;
}

function connected(state, text) {
  const dot = $("#connection");
  dot.dataset.state = state;
  $("span", dot).textContent = text;
}

// Pages

let current = new URL(location.href);
let running = new AbortController();
const WAITS = [1, 2, 5, 10];

/** The path of a page below the base, or `null` for an address elsewhere. */
function pathOf(url) {
  if (url.origin !== base.origin || !url.pathname.startsWith(base.pathname)) return null;
  return url.pathname.slice(base.pathname.length);
}

const fragmentOf = (url) => `ui/${pathOf(url) || "now"}${url.search}`;

async function waited(tried, what, signal) {
  const seconds = WAITS[Math.min(tried, WAITS.length - 1)];
  if (!signal.aborted) connected("off", `${what}, again in ${seconds} s`);
  await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
}

/** Shows a page: by "push" for a link, "back" for the browser's history, "again" or "live" for the same page. */
async function show(url, how) {
  running.abort();
  running = new AbortController();
  const { signal } = running;
  if (how === "push") {
    history.replaceState({ ...history.state, scroll: scrollY }, "");
    history.pushState({ within: true }, "", url);
  }
  current = new URL(url);
  if (how !== "live") {
    live.stop();
    mark(pathOf(current));
    main.setAttribute("aria-busy", "true");
  }
  let answer;
  for (let tried = 0; !answer; tried++) {
    try {
      answer = await send("GET", fragmentOf(current), undefined, signal);
    } catch {
      if (!signal.aborted) await waited(tried, "no connection", signal);
      if (signal.aborted) return;
    }
  }
  const found = answer.ok ? nodes(await answer.text()) : failure(await problem(answer));
  if (signal.aborted) return;
  const held = main.contains(document.activeElement) && document.activeElement.id;
  main.replaceChildren(...found);
  const page = $("article", main);
  document.title = `${page.dataset.title ?? "Problem"} · offhook`;
  tell(page.dataset);
  if (how === "live") return held && document.getElementById(held)?.focus();
  main.removeAttribute("aria-busy");
  connected("on", "connected");
  if (how !== "again") {
    main.focus({ preventScroll: true });
    scrollTo(0, how === "back" ? history.state?.scroll ?? 0 : 0);
  }
  live.start(page);
}

function failure(error) {
  const found = $("#failure").content.cloneNode(true);
  $("p", found).textContent = error.message;
  return [...found.childNodes];
}

const again = () => show(current, "again");
const open = (path) => show(new URL(path, base), "push");

function mark(path) {
  const first = path.split("/")[0];
  for (const link of $$("nav a")) {
    if (link.dataset.page === first) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

/** The numbers in the navigation. */
function tell({ dead, refused }) {
  for (const [name, number] of Object.entries({ dead, refused })) {
    if (number === undefined) continue;
    $(`nav a[data-page="${name}"] b`).textContent = number === "0" ? "" : number;
  }
}

// Times

const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "medium", hourCycle: "h23" });
const day = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric" });

/** Writes all times: local, or how long ago; the title has the exact one. */
function tellTimes(within) {
  const now = Date.now();
  for (const time of $$("time[datetime]", within)) {
    const at = new Date(time.dateTime);
    time.title = time.dateTime;
    const local = clock.format(at);
    const isToday = at.toDateString() === new Date(now).toDateString();
    time.textContent = time.dataset.as === "ago" ? ago((now - at.getTime()) / 1000)
      : isToday ? local : `${day.format(at)} ${local}`;
  }
}

function ago(seconds) {
  const size = Math.abs(seconds);
  const [number, unit] = size < 60 ? [size, "s"] : size < 3600 ? [size / 60, "min"]
    : size < 172800 ? [size / 3600, "h"] : [size / 86400, "d"];
  if (size < 1) return "now";
  return seconds < 0 ? `in ${Math.floor(number)} ${unit}` : `${Math.floor(number)} ${unit} ago`;
}

setInterval(() => {
  if (!document.hidden) tellTimes(main);
}, 5000);

// Changes

/** Sends them in order; a call that was answered is not sent again. Returns the answers. */
async function sendAll(calls, output) {
  const answers = [];
  for (const all = calls.length; calls.length; calls.shift()) {
    const [method, path, body, more] = calls[0];
    if (all > 1) output.textContent = `${all - calls.length + 1} of ${all}`;
    const answer = await send(method, path, body ?? undefined, undefined, more);
    if (!answer.ok) throw await problem(answer);
    answers.push((await answer.json().catch(() => null)) ?? {});
  }
  return answers;
}

/** What the answers say, or else `done`. */
function tellAnswers(answers, done) {
  const [one] = answers;
  const lines = [answers.length > 1 ? done
    : one.looked_at !== undefined ? `${one.valid} of ${one.looked_at} are valid now, ${one.accepted} accepted`
    : one.valid === true ? `It is valid now and ${one.duplicate ? "is an event already" : "has become an event"}`
    : one.valid === false ? `It is not valid: ${one.findings?.[0]?.why ?? "the signature is another"}`
    : one.verdict ? `${one.verdict} (${one.resolved.join(", ")} in ${one.took_ms} ms)`
    : one.reaches ? `Received as ${one.event}. It reaches ${one.reaches.join(", ") || "no consumer"}`
    : one.left_out && one.replayed !== undefined ? `${one.replayed} of ${one.matched} handed over again` : done];
  const isBad = [false, 0].includes(one.valid) || one.delivered === false;
  if (one.body_excerpt) lines.push(one.body_excerpt);
  for (const { left_out = [], warning } of answers) {
    for (const { consumer, events, reason } of left_out) lines.push(`${events} of ${consumer} left out: ${reason}`);
    if (warning && !lines.includes(warning)) lines.push(warning);
  }
  say(lines.join("\n"), isBad || lines.length > 1);
}

/** A button with `data-calls`: confirmed, sent, and the page shown again. After a failure it can be tried again. */
function act(button) {
  const { ask, say: label, type, then } = button.dataset;
  const calls = JSON.parse(button.dataset.calls);
  const form = $("form", confirmation);
  const [go, output, typed] = [$("button.go", form), $("output", form), form.elements.typed];
  const judge = () => { go.disabled = Boolean(type) && typed.value !== type; };
  $("p", form).textContent = ask;
  go.textContent = label;
  $("label", form).hidden = !type;
  $("label b", form).textContent = type ?? "";
  typed.value = "";
  typed.oninput = judge;
  output.textContent = "";
  judge();
  form.onsubmit = async (event) => {
    event.preventDefault();
    if (go.disabled) return;
    go.disabled = typed.readOnly = true;
    try {
      const answers = await sendAll(calls, output);
      confirmation.close();
      panel.close();
      tellAnswers(answers, `${label}: done`);
      await (then ? open(then) : again());
    } catch (error) {
      output.textContent = error.message;
      judge();
    } finally {
      typed.readOnly = false;
    }
  };
  confirmation.showModal();
  (type ? typed : go).focus();
}

/** Says what goes wrong outside of forms. */
const told = (promise) => promise.catch((error) => say(error.message, true));

async function openPanel(path) {
  const answer = await send("GET", path);
  const held = panel.contains(document.activeElement) && document.activeElement.name;
  panel.replaceChildren(...(answer.ok ? nodes(await answer.text()) : failure(await problem(answer))));
  if (!panel.open) panel.showModal();
  if (held) $("form", panel)?.elements[held]?.focus();
}

/** Shows again what a form would do, for what it says now. */
function preview(form) {
  const asked = new URL(form.dataset.preview, base);
  // It would still do what was shown before.
  for (const go of $$("button.go", form)) go.disabled = true;
  for (const [name, value] of new FormData(form)) if (value) asked.searchParams.set(name, String(value));
  return openPanel(asked);
}

/** What a form says: names that end in `[]` are lists, an empty text is left out. */
function fields(form) {
  const said = {};
  for (const [name, value] of new FormData(form)) {
    if (name.endsWith("[]")) (said[name.slice(0, -2)] ??= []).push(value);
    else if (value !== "") said[name] = form.elements[name].type === "number" ? Number(value) : value;
  }
  return said;
}

/** Sends a form to the API: what it was made for, or else what its fields say. */
async function sendForm(form) {
  const { method, path, done, body } = form.dataset;
  const said = body ? JSON.parse(body) : fields(form);
  const output = $("output", form);
  const button = $("button[type=submit]", form);
  // What is to be new replaces another only when the same is sent again.
  const key = `${said.session} ${said.name}`;
  const { create, asked } = form.dataset;
  const more = create !== undefined && asked !== key ? { "If-None-Match": "*" } : {};
  const target = path.replace(/\{(\w+)\}/g, (_, name) => {
    const value = encodeURIComponent(said[name] ?? "*");
    delete said[name];
    return value;
  });
  button.disabled = true;
  try {
    const answers = await sendAll([[method, target, said, more]], output);
    panel.close();
    tellAnswers(answers, done);
    await again();
  } catch (error) {
    // What was shown is not what would be done.
    if (error.status === 409 && form.dataset.preview) await preview(form).catch(() => {});
    $("output", panel).textContent = error.message;
    if (error.status === 412) {
      form.dataset.asked = key;
      button.textContent = "Replace it";
    }
  } finally {
    button.disabled = false;
  }
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    say("Copied.");
  } catch {
    say("The browser does not allow this; select the text.", true);
  }
}

async function download(link) {
  const answer = await send("GET", link.getAttribute("href"));
  if (!answer.ok) return say((await problem(answer)).message, true);
  const address = URL.createObjectURL(await answer.blob());
  const saved = document.createElement("a");
  saved.href = address;
  saved.download = link.dataset.download;
  saved.click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}

// Live

/** When something comes in, the page is shown again; while it is being read, the number of newer events is told. */
const live = {
  wanted: true,
  newer: 0,

  start(page) {
    this.path = page?.dataset.stream;
    this.after = undefined;
    this.newer = 0;
    this.resume();
  },

  resume() {
    this.ended?.abort();
    if (this.path && this.wanted) this.run();
    this.tell(this.newer);
  },

  stop() {
    this.ended?.abort();
    this.ended = undefined;
    clearTimeout(this.timer);
    this.timer = undefined;
  },

  toggle() {
    this.wanted = !this.wanted;
    this.resume();
  },

  tell(newer) {
    this.newer = newer;
    const [button, more] = [$("#live"), $("#newer")];
    if (!button) return;
    button.setAttribute("aria-pressed", String(this.wanted));
    more.hidden = newer === 0;
    more.textContent = `${newer} newer`;
  },

  async run() {
    const { signal } = (this.ended = new AbortController());
    for (let tried = 0; ; tried++) {
      try {
        const answer = await send("GET", this.after ? `${this.path}&after=${this.after}` : this.path, undefined, signal);
        if (!answer.ok) throw await problem(answer);
        connected("live", "live");
        tried = 0;
        await this.read(answer.body.pipeThrough(new TextDecoderStream()).getReader());
      } catch {
        // Tried again below.
      }
      if (signal.aborted) return;
      await waited(tried, "not live", signal);
      if (signal.aborted) return;
    }
  },

  /** Reads `text/event-stream` to its end. */
  async read(reader) {
    for (let rest = ""; ;) {
      const { value, done } = await reader.read();
      if (done) return;
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) {
        const field = (name) => block.match(new RegExp(`^${name}: ?(.*)$`, "m"))?.[1];
        this.after = field("id") ?? this.after;
        if (field("event")) this.changed(field("event") === "event");
      }
    }
  },

  changed(isEvent) {
    if (isReading()) {
      if (isEvent) this.tell(this.newer + 1);
    } else this.timer ??= setTimeout(() => this.put(), 1000);
  },

  async put() {
    await show(current, "live");
    this.timer = undefined;
    this.tell(0);
  },
};

/** Whether a page that changes now would disturb its reader. */
const isReading = () => scrollY > 40 || $("main :focus:not(button), tbody input:checked, dialog[open]");

document.addEventListener("visibilitychange", () => {
  // What came before is still put into the page.
  if (document.hidden) live.ended?.abort();
  else live.resume();
});

// Keyboard and mouse

const PAGES = { n: "", e: "events", v: "conversations", c: "consumers", d: "dead", r: "refused", s: "settings" };
let gone = 0;

const rowLinks = () => $$("tbody a.row", main);
const focusedRow = () => document.activeElement?.closest?.("tbody tr");
const ids = () => {
  const marked = $$("tbody input:checked", main).map((box) => box.value);
  const one = focusedRow()?.dataset.id ?? $("article", main)?.dataset.id;
  return marked.length ? marked : one ? [one] : [];
};

function move(step) {
  const links = rowLinks();
  const at = links.findIndex((link) => link.closest("tr") === focusedRow());
  links[Math.max(0, Math.min(links.length - 1, at < 0 ? 0 : at + step))]?.focus();
}

function replay() {
  const chosen = ids();
  if (chosen.length && $("[data-replay]", main)) told(openPanel(`ui/replay?ids=${chosen.join(",")}`));
}

const KEYS = {
  "/": () => $(".filter input", main)?.focus(),
  "?": () => $("#keys").showModal(),
  j: () => move(1),
  k: () => move(-1),
  x: () => focusedRow() && $("input[type=checkbox]", focusedRow())?.click(),
  r: replay,
  l: () => live.toggle(),
  y: () => ids().length && copy(ids().join("\n")),
  "[": () => $("a[rel=prev]", main)?.click(),
  "]": () => $("a[rel=next]", main)?.click(),
  Escape: () => (history.state?.within ? history.back() : open(pathOf(current).split("/").slice(0, -1).join("/"))),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing) return;
  if ($("dialog[open]")) return;
  const within = event.target;
  if (within.matches("input:not([type=checkbox]), select, textarea")) {
    if (event.key === "Escape") main.focus();
    return;
  }
  const isSecond = gone > 0 && event.timeStamp - gone < 1500;
  gone = event.key === "g" && !isSecond ? event.timeStamp : 0;
  if (gone) return;
  const page = isSecond ? PAGES[event.key] : undefined;
  const act = page !== undefined ? () => open(page) : isSecond ? undefined : KEYS[event.key];
  if (!act) return;
  event.preventDefault();
  act();
});

document.addEventListener("click", (event) => {
  if (event.button !== 0 || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  const within = event.target;
  const button = within.closest("button");
  const link = within.closest("a");
  if (button?.dataset.calls) return act(button);
  if (button?.dataset.copy !== undefined) return void copy(button.dataset.copy);
  if (button?.dataset.close !== undefined) return void button.closest("dialog")?.close();
  if (button?.dataset.replay !== undefined) return replay();
  if (button?.id === "live") return live.toggle();
  if (button?.id === "newer") return void live.put().then(() => scrollTo(0, 0));
  if (button?.id === "theme") return nextTheme();
  if (button?.id === "forget") {
    sessionStorage.removeItem(TOKEN);
    return void again();
  }
  if (link?.dataset.download) {
    event.preventDefault();
    return void told(download(link));
  }
  if (link?.dataset.panel !== undefined) {
    event.preventDefault();
    return void told(openPanel(link.getAttribute("href")));
  }
  if (link && !link.target && link.getAttribute("href") && !link.getAttribute("href").startsWith("#")) {
    if (pathOf(new URL(link.href)) === null) return;
    event.preventDefault();
    return void show(new URL(link.href), "push");
  }
  // A click in a row follows its link.
  const row = !within.closest("a, button, input, label") && within.closest("tbody tr");
  if (row && !String(getSelection())) $("a.row", row)?.click();
});

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.classList.contains("filter")) {
    event.preventDefault();
    const query = new URLSearchParams();
    for (const [name, value] of new FormData(form)) if (value !== "") query.append(name, String(value));
    const url = new URL(form.getAttribute("action"), base);
    url.search = String(query);
    show(url, "push");
  } else if (form.dataset.path) {
    event.preventDefault();
    sendForm(form);
  }
});

document.addEventListener("change", (event) => {
  const within = event.target;
  if (within.form?.dataset.preview) told(preview(within.form));
  if (within.form?.classList.contains("filter") && within.tagName === "SELECT") within.form.requestSubmit();
  const count = $("#selected", main);
  if (count) count.textContent = String($$("tbody input:checked", main).length || "");
});

addEventListener("popstate", () => show(new URL(location.href), "back"));

// Theme

const THEMES = ["auto", "light", "dark"];

function theme(name) {
  document.documentElement.dataset.theme = name;
  $("#theme span").textContent = name;
}

function nextTheme() {
  const next = THEMES[(THEMES.indexOf(document.documentElement.dataset.theme ?? "auto") + 1) % THEMES.length];
  localStorage.setItem("offhook-theme", next);
  theme(next);
}

theme(THEMES.find((name) => name === localStorage.getItem("offhook-theme")) ?? "auto");
history.scrollRestoration = "manual";
show(current, "back");
