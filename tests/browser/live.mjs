// How pages follow the server, and leave their reader in peace. Each returns what was wrong.

import assert from "node:assert/strict";
import { setTimeout as pause } from "node:timers/promises";

import { judge, shown, tab } from "./checks.mjs";
import { TOKEN } from "./served.mjs";

const isLive = (page) => page.waitForSelector("#connection[data-state=live]");
const message = (id) => ({ event: "message", sessionId: "live", messageId: id, from: "+1", message: id });

/** Says of a tab whether it is hidden. */
const HIDE = (hidden) => {
  Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
  document.dispatchEvent(new Event("visibilitychange"));
};

export const live = {
  async "new events come by themselves, but not while somebody reads"(browser, { seeded }) {
    const opened = await tab(browser, { base: seeded.base, token: TOKEN });
    const { page } = opened;
    await page.goto(`${seeded.base}events?session=live`);
    await isLive(page);
    const send = (id) => seeded.send(message(id));
    await send("first");
    await page.waitForSelector("#events:has-text('first')");
    await page.keyboard.press("j");
    await send("second");
    await page.waitForSelector("#newer:has-text('1 newer')");
    assert.equal(await page.locator("#events tbody tr").count(), 1);
    // A tab that was hidden still knows it.
    await page.evaluate(HIDE, true);
    await page.evaluate(HIDE, false);
    assert.equal(await page.textContent("#newer"), "1 newer");
    await isLive(page);
    await page.click("#newer");
    await page.waitForSelector("#events:has-text('second')");
    await page.keyboard.press("l");
    assert.equal(await page.getAttribute("#live", "aria-pressed"), "false");
    const wrong = await judge(opened);
    await opened.context.close();
    return wrong;
  },

  async "a row that is ticked stays, also while the page is fetched"(browser, { seeded }) {
    const opened = await tab(browser, { base: seeded.base, token: TOKEN });
    const { page } = opened;
    await page.goto(`${seeded.base}events?session=shop`);
    await isLive(page);
    const ticked = () => page.locator("#events tbody input:checked").count();
    const send = (id) => seeded.send({ ...message(id), sessionId: "shop" });
    // Within the second before a page is fetched.
    await send("tick-1");
    await page.evaluate(() => document.querySelector("#events tbody input").click());
    await page.waitForSelector("#newer:has-text('newer')");
    await pause(2000);
    assert.equal(await ticked(), 1);
    assert.equal(await page.locator("#events:has-text('tick-1')").count(), 0);
    await page.evaluate(() => document.querySelector("#events tbody input").click());
    await page.waitForSelector("#events:has-text('tick-1')");
    // While it is fetched.
    let fetched;
    const asked = new Promise((resolve) => { fetched = resolve; });
    let goOn;
    const held = new Promise((resolve) => { goOn = resolve; });
    await page.route("**/ui/events**", async (route) => {
      fetched();
      await held;
      await route.continue();
    }, { times: 1 });
    await send("tick-2");
    await asked;
    await page.evaluate(() => document.querySelector("#events tbody input").click());
    const answered = page.waitForResponse("**/ui/events**");
    goOn();
    await answered;
    await pause(500);
    assert.equal(await ticked(), 1);
    await opened.context.close();
    return [];
  },

  async "a button keeps the focus"(browser, { seeded }) {
    const opened = await tab(browser, { base: seeded.base, token: TOKEN });
    const { page } = opened;
    await page.goto(`${seeded.base}events?session=live`);
    await isLive(page);
    await page.focus("main [data-replay]");
    await seeded.send(message("focus"));
    await page.waitForSelector("#events:has-text('focus')");
    assert.ok(await page.evaluate(() => document.activeElement?.matches("[data-replay]")));
    await opened.context.close();
    return [];
  },

  async "nothing is missed between the page and its stream, nor while it is fetched"(browser, { seeded }) {
    const opened = await tab(browser, { base: seeded.base, token: TOKEN });
    const { page } = opened;
    await page.route("**/api/stream**", async (route) => {
      await seeded.send(message("between"));
      await route.continue();
    }, { times: 1 });
    // Its stream has only events, of which nothing else tells.
    await page.goto(`${seeded.base}conversations?session=live&peer=%2B1`);
    await page.waitForSelector(".chat:has-text('between')");
    await isLive(page);
    // The answer is of before; what comes then is shown too, with nothing behind it.
    await page.route("**/ui/conversations**", async (route) => {
      const answer = await route.fetch();
      await seeded.send(message("meanwhile"));
      await pause(500);
      await route.fulfill({ response: answer });
    }, { times: 1 });
    await seeded.send(message("cause"));
    await page.waitForSelector(".chat:has-text('meanwhile')");
    await opened.context.close();
    return [];
  },

  async "what is left out counts too, and a filter that the stream has not is not counted"(browser, { seeded }) {
    const opened = await tab(browser, { base: seeded.base, token: TOKEN });
    const { page } = opened;
    let goOn;
    const reading = new Promise((resolve) => { goOn = resolve; });
    await page.route("**/api/stream**", async (route) => {
      await reading;
      const body = 'event: skipped\ndata: {"from":1,"to":5000,"events":4999}\n\n';
      await route.fulfill({ contentType: "text/event-stream", body });
    }, { times: 1 });
    await page.goto(`${seeded.base}events?session=shop`);
    await shown(page);
    await page.keyboard.press("j");
    goOn();
    await page.waitForSelector("#newer:has-text('4999 newer')");
    await page.goto(`${seeded.base}events?name=message`);
    await isLive(page);
    await page.keyboard.press("j");
    await seeded.send(message("narrow"));
    await page.waitForSelector("#newer:not([hidden])");
    assert.equal(await page.textContent("#newer"), "newer");
    await opened.context.close();
    return [];
  },

  async "a hidden tab takes no place"(browser, { seeded }) {
    const opened = await tab(browser, { base: seeded.base, token: TOKEN });
    const { page } = opened;
    const watches = [];
    page.on("request", (request) => {
      if (request.url().includes("/api/stream")) watches.push(request.url());
    });
    await page.addInitScript(() => Object.defineProperty(document, "hidden", { value: true, configurable: true }));
    await page.goto(`${seeded.base}events?session=live`);
    await shown(page);
    await pause(300);
    assert.deepEqual(watches, []);
    await seeded.send(message("hidden"));
    await page.evaluate(HIDE, false);
    await page.waitForSelector("#events:has-text('hidden')");
    await isLive(page);
    await opened.context.close();
    return [];
  },

  async "pages follow the server, and Escape leads up"(browser, { seeded }) {
    const opened = await tab(browser, { base: seeded.base, token: TOKEN });
    const { page } = opened;
    const archive = "handler:archive";
    await page.goto(`${seeded.base}consumers`);
    await isLive(page);
    const row = page.locator("tbody tr", { hasText: "archive" });
    await seeded.api(`api/consumers/${archive}/pause`, "POST");
    await row.locator(".state", { hasText: "paused" }).waitFor();
    await seeded.send({ event: "status", sessionId: "follow", messageId: "F", status: "read" });
    const { events } = await seeded.api("api/events?session=follow");
    await page.goto(`${seeded.base}events/${events[0].id}`);
    await page.waitForSelector("main li:has-text('gets nothing until it is resumed')");
    await isLive(page);
    await seeded.api(`api/consumers/${archive}/resume`, "POST");
    await page.waitForSelector("main .head .state:has-text('done')");
    assert.match(await page.textContent("#zone") ?? "", /UTC/);
    await page.keyboard.press("Escape");
    await page.waitForSelector("#events");
    await page.keyboard.press("Escape");
    assert.equal(new URL(page.url()).pathname, "/events");
    // A question that is closed gives the focus back.
    await page.goto(`${seeded.base}consumers/${encodeURIComponent(archive)}`);
    await shown(page);
    await page.focus("main button:has-text('Pause')");
    await page.keyboard.press("Enter");
    await page.waitForSelector("#confirm[open]");
    await page.keyboard.press("Escape");
    assert.equal(await page.evaluate(() => document.activeElement?.textContent), "Pause");
    await opened.context.close();
    return [];
  },
};
