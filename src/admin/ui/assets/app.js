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
  return Object.assign(new Error(text), { ...told, status: answer.status });
}

function askForToken(why) {
  asking ??= new Promise((resolve) => {
    const dialog = $("#token");
    const form = $("form", dialog);
    $("output", dialog).textContent = why;
    form.elements.token.value = "";
    if (!dialog.open) dialog.showModal();
    form.onsubmit = (event) => {
      event.preventDefault();
      sessionStorage.setItem(TOKEN, form.elements.token.value);
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

const pathOf = (url) => url.pathname.slice(base.pathname.length);

async function waited(tried, what, signal) {
  if (signal.aborted) return;
  const seconds = WAITS[Math.min(tried, WAITS.length - 1)];
  connected("off", `${what}, again in ${seconds} s`);
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
  const known = live.newer;
  if (how !== "live") {
    panel.close();
    live.stop();
    mark();
    main.setAttribute("aria-busy", "true");
  }
  let found;
  for (let tried = 0; !found; tried++) {
    try {
      const answer = await send("GET", `ui/${pathOf(current) || "now"}${current.search}`, undefined, signal);
      found = answer.ok ? nodes(await answer.text()) : failure(await problem(answer));
    } catch {
      await waited(tried, "no connection", signal);
      if (signal.aborted) return;
    }
  }
  if (signal.aborted) return;
  if (how === "live" && isReading()) return live.later(3000);
  const held = $("button:focus", main);
  main.replaceChildren(...found);
  const page = $("article", main);
  document.title = `${page.dataset.title ?? "Problem"} · offhook`;
  mark(page.dataset);
  if (how === "live") {
    live.tell(live.newer - known);
    return $$("button", main).find((one) => one.isEqualNode(held))?.focus();
  }
  main.removeAttribute("aria-busy");
  connected("on", "connected");
  main.focus({ preventScroll: true });
  if (how !== "again") scrollTo(0, how === "back" ? history.state?.scroll ?? 0 : 0);
  live.start(page);
}

function failure(error) {
  const found = $("#failure").content.cloneNode(true);
  $("p", found).textContent = error.message;
  return [found];
}

const again = () => show(current, "again");
const open = (path) => show(new URL(path, base), "push");

/** The page in the navigation, and the numbers that a page tells. */
function mark(numbers = {}) {
  const [first] = pathOf(current).split("/");
  for (const link of $$("nav a")) {
    const { page } = link.dataset;
    link.ariaCurrent = page === first ? "page" : null;
    if (numbers[page] !== undefined) $("b", link).textContent = numbers[page] === "0" ? "" : numbers[page];
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

/** Tells what was answered, in the words of the server: `{name}` stands for a field of the answer. */
function tellAnswer(answer, done, bad = done) {
  const isBad = [false, 0].includes(answer.valid) || answer.delivered === false;
  const field = (_, path) => {
    const found = path.split(".").reduce((at, name) => at?.[name], answer) ?? "";
    return Array.isArray(found) ? found.join(", ") : found;
  };
  const left = (answer.left_out ?? []).map(({ consumer, events, reason }) => `${events} of ${consumer} left out: ${reason}`);
  const lines = [(isBad ? bad : done).replace(/\{([\w.]+)\}/g, field), ...left, answer.warning].filter(Boolean);
  say(lines.join("\n"), isBad || lines.length > 1);
}

/** Sends what a form is for, and shows the page again. After a failure it can be tried again. */
async function submit(form, [method, path, body, more], { done, bad, then }) {
  form.inert = true;
  try {
    const answer = await send(method, path, body ?? undefined, undefined, more);
    if (!answer.ok) throw await problem(answer);
    confirmation.close();
    panel.close();
    tellAnswer((await answer.json().catch(() => null)) ?? {}, done, bad);
    await (then ? open(then) : again());
  } catch (error) {
    $("output", form).textContent = error.message;
    return error;
  } finally {
    form.inert = false;
    $(".go", form)?.focus();
  }
}

/** A button with `data-call` asks first. */
function act(button) {
  const { ask, say: label, type, then, done = `${label}: done`, bad } = button.dataset;
  const call = JSON.parse(button.dataset.call);
  const form = $("form", confirmation);
  const [go, typed] = [$(".go", form), form.elements.typed];
  $("p", form).textContent = ask;
  $("output", form).textContent = "";
  go.textContent = label;
  $("label", form).hidden = !type;
  $("label b", form).textContent = type ?? "";
  typed.value = "";
  typed.oninput = () => { go.disabled = Boolean(type) && typed.value !== type; };
  typed.oninput();
  form.onsubmit = async (event) => {
    event.preventDefault();
    const error = await submit(form, call, { done, bad, then });
    if (error?.code !== "plan_changed") return;
    // What was shown is shown again, as it is now.
    confirmation.close();
    say(error.message, true);
    told(panel.open ? openPanel(panel.dataset.path) : again());
  };
  confirmation.showModal();
  (type ? typed : go).focus();
}

const told = async (work) => {
  try {
    await work;
  } catch (error) {
    say(error.message, true);
  }
};

async function openPanel(path) {
  panel.dataset.path = path;
  const answer = await send("GET", path);
  const held = panel.contains(document.activeElement) && document.activeElement.name;
  panel.replaceChildren(...(answer.ok ? nodes(await answer.text()) : failure(await problem(answer))));
  if (!panel.open) panel.showModal();
  if (held) $("form", panel)?.elements[held]?.focus();
}

const filled = (form) => [...new FormData(form)].filter(([, value]) => value !== "");

/** Shows again what a form would do. */
function preview(form) {
  // It would still do what was shown before.
  for (const go of $$(".go", form)) go.disabled = true;
  const asked = new URL(form.dataset.preview, base);
  for (const [name, value] of filled(form)) asked.searchParams.set(name, value);
  return openPanel(asked);
}

/** What a form says: names that end in `[]` are lists, of all where none is ticked. */
function fields(form) {
  const said = {};
  for (const [name, value] of filled(form)) {
    if (name.endsWith("[]")) (said[name.slice(0, -2)] ??= []).push(value);
    else said[name] = value;
  }
  for (const { name } of $$("[name$='[]']", form)) said[name.slice(0, -2)] ??= ["*"];
  return said;
}

/** Sends what a form was made for, or else its fields, to the API. */
async function sendForm(form) {
  const { method, path, body, create, asked, preview: shown } = form.dataset;
  const said = body ? JSON.parse(body) : fields(form);
  // What is new replaces another only when sent again.
  const key = `${said.session} ${said.name}`;
  const more = create !== undefined && asked !== key ? { "If-None-Match": "*" } : {};
  const target = path.replace("{session}", encodeURIComponent(said.session));
  if (target !== path) delete said.session;
  const error = await submit(form, [method, target, said, more], form.dataset);
  if (error?.status === 412) {
    form.dataset.asked = key;
    $(".go", form).textContent = "Replace it";
  }
  // Done once, or shown again.
  if (error?.code === "plan_used") $(".go", form).remove();
  else if (error?.status === 409 && shown) {
    await preview(form);
    $("output", panel).textContent = error.message;
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
  if (!answer.ok) throw await problem(answer);
  const address = URL.createObjectURL(await answer.blob());
  Object.assign(document.createElement("a"), { href: address, download: link.dataset.download }).click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}

// Live

/** When something comes in, the page is shown again; while it is being read, the number of newer events is told. */
const live = {
  wanted: true,

  start({ dataset }) {
    this.path = dataset.stream;
    // What has come since the page was made is newer.
    this.after = dataset.after;
    this.newer = 0;
    this.resume();
  },

  resume(isOld) {
    this.ended?.abort();
    if (this.path && this.wanted && !document.hidden) {
      this.run();
      if (isOld) this.later(0);
    }
    this.tell(this.newer);
  },

  stop() {
    this.path = undefined;
    this.ended?.abort();
    clearTimeout(this.timer);
    this.timer = undefined;
  },

  toggle() {
    this.wanted = !this.wanted;
    this.resume(true);
  },

  tell(newer) {
    this.newer = newer;
    const [button, more] = [$("#live"), $("#newer")];
    if (!button) return;
    button.setAttribute("aria-pressed", String(this.wanted));
    more.hidden = newer === 0;
    more.textContent = more.dataset.say ?? `${newer} newer`;
  },

  async run() {
    const { signal } = (this.ended = new AbortController());
    for (let tried = 0; !signal.aborted; tried++) {
      try {
        const answer = await send("GET", this.after ? `${this.path}&after=${this.after}` : this.path, undefined, signal);
        if (!answer.ok) throw await problem(answer);
        connected("live", "live");
        tried = 0;
        await this.read(answer.body.pipeThrough(new TextDecoderStream()).getReader());
      } catch {} // It is tried again.
      await waited(tried, "not live", signal);
    }
  },

  async read(reader) {
    for (let rest = ""; ;) {
      const { value, done } = await reader.read();
      if (done) return;
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) {
        const field = (name) => block.match(new RegExp(`^${name}: ?(.*)$`, "m"))?.[1];
        this.after = field("id") ?? this.after;
        const event = field("event");
        if (event === "event") this.newer++;
        if (event === "skipped") this.newer += JSON.parse(field("data")).events ?? 0;
        if (event) this.later(1000);
      }
    }
  },

  /** Shows the page again; while somebody reads, only how much is newer. */
  later(wait) {
    if (isReading()) this.tell(this.newer);
    this.timer ??= setTimeout(async () => {
      this.timer = undefined;
      if (this.isBusy || isReading()) return this.later(3000);
      this.isBusy = true;
      await show(current, "live");
      this.isBusy = false;
    }, wait);
  },
};

/** Whether a page that changes now would disturb its reader. */
const isReading = () => scrollY > 40 || $("main :focus:not(button), tbody input:checked, dialog[open]");

document.addEventListener("visibilitychange", () => {
  // What came before is still put into the page.
  if (document.hidden) live.ended?.abort();
  else live.resume(true);
});

// Keyboard and mouse

const focusedRow = () => document.activeElement?.closest?.("tbody tr");
const ids = () => {
  const marked = $$("tbody input:checked", main).map((box) => box.value);
  const one = focusedRow()?.dataset.id ?? $("article", main)?.dataset.id;
  return marked.length ? marked : one ? [one] : [];
};

function move(step) {
  const links = $$("tbody a.row", main);
  const at = links.findIndex((link) => link.closest("tr") === focusedRow());
  links[Math.max(0, Math.min(links.length - 1, at < 0 ? 0 : at + step))]?.focus();
}

function replay() {
  const chosen = ids();
  if (!$("[data-replay]", main)) return $("a[href^='ui/replay'], a[href^='ui/dead']", main)?.click();
  if (chosen.length) return openPanel(`ui/replay?ids=${chosen.join(",")}`);
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
  // From one thing to the list that it is of; a whole list leads nowhere.
  Escape: () => {
    const [list, one] = pathOf(current).split("/");
    if (one === undefined && !current.search) main.focus();
    else if (history.state?.within) history.back();
    else open(list);
  },
};

let first = "";
let forgetting;

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing || $("dialog[open]")) return;
  if (event.target.matches("input:not([type=checkbox]), select, textarea")) {
    if (event.key === "Escape") main.focus();
    return;
  }
  const keys = first + event.key;
  first = keys === "g" ? "g " : "";
  clearTimeout(forgetting);
  forgetting = setTimeout(() => { first = ""; }, 1500);
  const link = $$("nav a").find((link) => link.dataset.keys === keys);
  const does = link ? () => link.click() : KEYS[keys];
  if (!does) return;
  event.preventDefault();
  told(does());
});

const CLICKS = {
  "button[data-call]": act,
  "button[data-copy]": (button) => copy(button.dataset.copy),
  "button[data-close]": (button) => button.closest("dialog").close(),
  "button[data-replay]": replay,
  "#live": () => live.toggle(),
  "#newer": () => again().then(() => scrollTo(0, 0)),
  "#theme": () => theme(1),
  "#forget": () => {
    sessionStorage.removeItem(TOKEN);
    return again();
  },
  "a[data-download]": download,
  "a[data-panel]": (link) => openPanel(link.getAttribute("href")),
  "a.skip": () => main.focus(),
  "a[href]": (link) => open(link.href),
  "button, input, label": undefined,
  // A click in a row follows its link.
  "tbody tr": (row) => String(getSelection()) || $("a.row", row)?.click(),
};

document.addEventListener("click", (event) => {
  if (event.button !== 0 || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  const selector = Object.keys(CLICKS).find((selector) => event.target.closest(selector));
  const does = CLICKS[selector];
  if (!does) return;
  event.preventDefault();
  told(does(event.target.closest(selector)));
});

document.addEventListener("submit", (event) => {
  const form = event.target;
  const isFilter = form.matches(".filter");
  if (!isFilter && !form.dataset.path) return;
  event.preventDefault();
  if (!isFilter) return void told(sendForm(form));
  const url = new URL(form.getAttribute("action"), base);
  url.search = new URLSearchParams(filled(form));
  show(url, "push");
});

document.addEventListener("change", (event) => {
  const { form, tagName } = event.target;
  if (form?.dataset.preview) told(preview(form));
  if (form?.matches(".filter") && tagName === "SELECT") form.requestSubmit();
  const count = $("#selected", main);
  if (count) count.textContent = String($$("tbody input:checked", main).length || "");
});

addEventListener("popstate", () => show(location.href, "back"));

// Theme

const THEMES = ["auto", "light", "dark"];

/** Takes the theme that is kept, or the next one. */
function theme(step) {
  const kept = Math.max(0, THEMES.indexOf(localStorage.getItem("offhook-theme")));
  const name = THEMES[(kept + step) % THEMES.length];
  localStorage.setItem("offhook-theme", name);
  document.documentElement.dataset.theme = name;
  $("#theme span").textContent = name;
}

theme(0);
$("#zone").textContent = `Times are those of ${clock.resolvedOptions().timeZone}`;
history.scrollRestoration = "manual";
show(current, "back");
