// The dashboard in a real browser: every page in each variant, then what a person does. Run it by `./test browser`.
//
// OFFHOOK is the program, SHOTS the folder for the screenshots. OFFHOOK_BROWSER=all runs every page in every
// variant; otherwise 24 runs have all pages, and each variant somewhere.

import { mkdir } from "node:fs/promises";
import { chromium } from "playwright-core";

import { judge, shown, tab } from "./checks.mjs";
import { live } from "./live.mjs";
import { paths } from "./paths.mjs";
import { Served, TOKEN } from "./served.mjs";

const { OFFHOOK, SHOTS, CHROMIUM = "/usr/bin/chromium" } = process.env;
const STATES = ["seeded", "empty", "broken"];
const SINGLE = ["event", "conversation", "consumer", "refusal"];
const PAGES = ["now", "events", "event", "conversations", "conversation", "consumers", "consumer", "dead", "refused", "refusal", "settings"];

/** All runs, or so many that all pages and each variant are among them. An empty server has no single things. */
function plan() {
  const all = PAGES.flatMap((page) => STATES.flatMap((state) =>
    ["light", "dark"].flatMap((theme) => [360, 1280].map((width) => ({ page, state, theme, width })))));
  const possible = all.filter(({ page, state }) => state !== "empty" || !SINGLE.includes(page));
  if (process.env.OFFHOOK_BROWSER === "all") return possible;
  // A step that has no factor in common with their number comes to other variants on each round.
  return Array.from({ length: 24 }, (_, run) => possible[(run * 41) % possible.length]);
}

/** Where a page is on a server. */
function address({ event, refusal }, page) {
  const places = {
    now: "",
    event: `events/${event}`,
    conversations: event ? "conversations?session=support" : "conversations",
    conversation: "conversations?session=support&peer=%2B447700901000",
    refusal: `refused/${refusal}`,
    consumer: `consumers/${encodeURIComponent("subscription:*:crm")}`,
  };
  return places[page] ?? page;
}

let passed = 0;
let failed = 0;
function report(name, wrong) {
  if (wrong.length) failed++;
  else passed++;
  console.log(`${wrong.length ? "FAILED" : "ok"} ${name}`);
  for (const line of wrong) console.log(`  ${line}`);
}

await mkdir(SHOTS, { recursive: true });
const servers = {};
const browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox"] });
try {
  for (const state of STATES) servers[state] = await Served.start(OFFHOOK, state);
  for (const { page: name, state, theme, width } of plan()) {
    const served = servers[state];
    const path = address(served, name);
    const opened = await tab(browser, { base: served.base, token: TOKEN, theme, width });
    await opened.page.goto(served.base + path);
    await shown(opened.page);
    const run = `${name}-${state}-${theme}-${width}`;
    await opened.page.screenshot({ path: `${SHOTS}/${run}.png`, fullPage: true });
    report(run, await judge(opened));
    await opened.context.close();
  }
  for (const [name, walk] of Object.entries({ ...paths, ...live })) {
    let wrong;
    try {
      wrong = await walk(browser, servers);
    } catch (error) {
      wrong = [error.stack ?? String(error)];
    }
    report(name, wrong);
  }
} finally {
  await browser.close();
  for (const served of Object.values(servers)) await served.stop();
}
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed ? 1 : 0;
