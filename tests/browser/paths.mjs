// What a person does with the dashboard. Each returns what was wrong.

import assert from "node:assert/strict";

import { judge, shown, tab } from "./checks.mjs";
import { HOSTILE, TOKEN, VIEWER } from "./served.mjs";

/** Goes to a page by the keyboard, and waits for its heading. */
async function keys(page, pressed, heading) {
  for (const key of pressed.split(" ")) await page.keyboard.press(key);
  await page.waitForSelector(`main:not([aria-busy]) h1:has-text("${heading}")`);
}

export const paths = {
  async "the keyboard alone"(browser, { seeded }) {
    const opened = await tab(browser, { base: seeded.base, token: TOKEN });
    const { page } = opened;
    await page.goto(seeded.base);
    await shown(page);
    for (const [pressed, heading] of [
      ["g e", "Events"], ["g v", "Conversations"], ["g c", "Consumers"], ["g d", "Dead"], ["g s", "Settings"], ["g n", "Now"], ["g e", "Events"],
    ]) await keys(page, pressed, heading);
    assert.match(await page.title(), /^Events · offhook$/);
    const path = () => new URL(page.url()).pathname;
    // The link to the content leads into the page, and not away from it.
    await page.focus("a.skip");
    await page.keyboard.press("Enter");
    assert.deepEqual([path(), await page.evaluate(() => document.activeElement?.id)], ["/events", "main"]);
    await page.keyboard.press("j");
    await page.keyboard.press("j");
    await page.keyboard.press("k");
    const first = await page.evaluate(() => document.activeElement?.closest("tr")?.dataset.id);
    assert.ok(first, "a row has the focus");
    await page.keyboard.press("y");
    assert.equal(await page.evaluate(() => navigator.clipboard.readText()), first);
    await page.keyboard.press("Enter");
    await page.waitForSelector(`article[data-id="${first}"]`);
    assert.equal(path(), `/events/${first}`);
    await page.keyboard.press("Escape");
    await page.waitForSelector("#events");
    assert.equal(path(), "/events");
    await page.keyboard.press("/");
    assert.equal(await page.evaluate(() => document.activeElement?.tagName), "INPUT");
    await page.keyboard.type("shop");
    await page.keyboard.press("Enter");
    await page.waitForURL("**/events?session=shop");
    await shown(page);
    await page.keyboard.press("]");
    await page.waitForURL(/before=/).catch(() => {});
    await page.keyboard.press("?");
    await page.waitForSelector("#keys[open]");
    const wrong = await judge(opened);
    await page.keyboard.press("Escape");
    assert.equal(await page.locator("#keys[open]").count(), 0);
    await opened.context.close();
    return wrong;
  },

  async "a replay from the preview to the confirmation"(browser, { seeded }) {
    const opened = await tab(browser, { base: seeded.base, token: TOKEN });
    const { page } = opened;
    await page.goto(`${seeded.base}events?session=support`);
    await shown(page);
    // The first is a duplicate, which cannot be selected.
    for (const key of ["j", "x", "j", "x", "j", "x"]) await page.keyboard.press(key);
    assert.equal(await page.textContent("#selected"), "2");
    await page.keyboard.press("r");
    const button = page.locator("#panel button[type=submit]");
    await button.waitFor();
    assert.equal((await button.textContent())?.replace(/all \d+ consumers/, "all"), "Replay 2 events to all");
    await page.selectOption("#panel select[name=consumer]", "handler:archive");
    await page.waitForSelector("#panel button[type=submit]:has-text('Replay 2 events to archive')");
    assert.equal(await page.evaluate(() => document.activeElement?.name), "consumer");
    await page.fill("#panel input[name=rate]", "1");
    await page.keyboard.press("Tab");
    await page.waitForSelector("#panel dd:has-text('2 seconds')");
    const wrong = await judge(opened);
    await button.click();
    await page.waitForFunction(() => document.querySelector("#said")?.textContent?.includes("The replay of 2 events has begun"));
    const { replays } = await seeded.api("api/replays");
    const mine = replays.filter((one) => one.consumer === "handler:archive" && one.matched === 2 && one.rate === 1);
    assert.equal(mine.length, 1);
    await opened.context.close();
    return wrong;
  },

  async "a plan that is used has no button any more"(browser, { seeded }) {
    const opened = await tab(browser, { base: seeded.base, token: TOKEN });
    const { page } = opened;
    await page.goto(`${seeded.base}events?session=shop`);
    await shown(page);
    await page.click("a:has-text('Replay all that match')");
    const button = page.locator("#panel button[type=submit]");
    await button.waitFor();
    // It is done, and its answer is lost.
    const lost = async (route) => {
      await route.fetch();
      await route.abort();
    };
    await page.route("**/api/replay", lost, { times: 1 });
    await button.click();
    await page.waitForFunction(() => document.querySelector("#panel output")?.textContent);
    await button.click();
    await page.waitForFunction(() => document.querySelector("#panel output")?.textContent?.includes("was used already"));
    assert.equal(await button.count(), 0);
    // The browser tells of the lost answer and of the refusal.
    opened.wrong.length = 0;
    const wrong = await judge(opened);
    await opened.context.close();
    return wrong;
  },

  async "what a replay is of can be looked at first"(browser, { seeded }) {
    const opened = await tab(browser, { base: seeded.base, token: TOKEN });
    const { page } = opened;
    await page.goto(`${seeded.base}events?session=shop`);
    await shown(page);
    await page.click("a:has-text('Replay all that match')");
    await page.click("#panel a:has-text('Show them')");
    await page.waitForURL(/events\?session=shop&to=/);
    await shown(page);
    assert.equal(await page.locator("dialog[open]").count(), 0);
    const chat = `${seeded.base}conversations?session=support&peer=%2B447700901000`;
    await page.goto(chat);
    await shown(page);
    await page.locator("a:has-text('replay from here')").first().click();
    await page.waitForSelector("#panel p:has-text('Every event of session support, from')");
    const wrong = await judge(opened);
    await opened.context.close();
    return wrong;
  },

  async "keys lead from a conversation, and a dialog that is late looks again"(browser, { seeded }) {
    const opened = await tab(browser, { base: seeded.base, token: TOKEN });
    const { page } = opened;
    await page.goto(`${seeded.base}conversations?session=support`);
    await shown(page);
    await page.locator("tbody a.row").first().click();
    await page.waitForURL(/peer=/);
    await shown(page);
    await page.keyboard.press("Escape");
    await page.waitForURL(/conversations\?session=support$/);
    await page.goto(`${seeded.base}dead`);
    await shown(page);
    await page.keyboard.press("r");
    const heading = page.locator("#panel h2");
    await heading.waitFor();
    const { dead } = await seeded.api("api/dead?limit=500");
    assert.equal(await heading.textContent(), `${dead.length} dead letters`);
    const wrong = await judge(opened);
    await page.click("#panel button:has-text('Replay all')");
    // Somebody else is faster.
    await seeded.api(`api/dead/${dead[0].id}`, "DELETE");
    const left = (await seeded.api("api/dead?limit=500")).dead.length;
    await page.click("#confirm button.go");
    await page.waitForFunction((left) => document.querySelector("#panel h2")?.textContent?.startsWith(`${left} dead letter`), left);
    assert.match(await page.textContent("#said") ?? "", /were expected; nothing was done/);
    assert.equal(await page.locator("#confirm[open]").count(), 0);
    await opened.context.close();
    return wrong;
  },

  async "what is deleted must be typed"(browser, { seeded }) {
    const opened = await tab(browser, { base: seeded.base, token: TOKEN, width: 360 });
    const { page } = opened;
    await page.goto(`${seeded.base}dead`);
    await shown(page);
    const before = (await seeded.api("api/dead?limit=500")).dead.length;
    await page.locator("table").first().locator("button", { hasText: "Delete" }).last().click();
    const go = page.locator("#confirm button.go");
    assert.ok(await go.isDisabled());
    const count = await page.textContent("#confirm label b");
    await page.fill("#confirm input", String(count));
    const wrong = await judge(opened);
    await go.click();
    await page.waitForSelector("#confirm:not([open])", { state: "attached" });
    const after = (await seeded.api("api/dead?limit=500")).dead.length;
    assert.equal(before - after, Number(count));
    await opened.context.close();
    return wrong;
  },

  async "the token is asked for over the page"(browser, { seeded }) {
    const opened = await tab(browser, { base: seeded.base });
    const { page } = opened;
    await page.goto(`${seeded.base}consumers`);
    await page.waitForSelector("#token[open]");
    const wrong = await judge(opened);
    await page.fill("#token input", "a-wrong-one");
    await page.keyboard.press("Enter");
    await page.waitForFunction(() => document.querySelector("#token output")?.textContent);
    await page.fill("#token input", TOKEN);
    await page.keyboard.press("Enter");
    await shown(page);
    assert.equal(await page.textContent("h1"), "Consumers");
    assert.equal(new URL(page.url()).search, "");
    await opened.context.close();
    return wrong;
  },

  async "a viewer has no buttons that change something, and sees no bodies"(browser, { seeded }) {
    const opened = await tab(browser, { base: seeded.base, token: VIEWER });
    const { page } = opened;
    const wrong = [];
    for (const path of ["", "events", "consumers", "consumers/handler%3Akeeps-trying", "dead", "settings"]) {
      await page.goto(seeded.base + path);
      await shown(page);
      const calls = await page.locator("main [data-call], main [data-replay], main [data-panel]").count();
      if (calls) wrong.push(`${path} has ${calls} buttons`);
      if (/Where is my order/.test(await page.textContent("main") ?? "")) wrong.push(`${path} shows a body`);
      wrong.push(...await judge(opened));
    }
    await opened.context.close();
    return wrong;
  },

  async "hostile texts stay texts on every page"(browser, { seeded }) {
    const opened = await tab(browser, { base: seeded.base, token: TOKEN });
    const { page } = opened;
    const wrong = [];
    const { events } = await seeded.api("api/events?limit=30");
    const places = events.slice(0, 18).map((event) => `events/${event.id}`);
    for (const text of HOSTILE) {
      const session = encodeURIComponent(text);
      places.push(`events?session=${session}`, `conversations?session=${session}`, `conversations?session=${session}&peer=${session}`);
    }
    for (const place of places) {
      await page.goto(seeded.base + place);
      await shown(page);
      if (await page.locator("main script, main img, main iframe, main [onerror], main [onload]").count()) wrong.push(`${place} has markup of a sender`);
      const links = await page.locator("main a").evaluateAll((all) => all.map((one) => one.href));
      wrong.push(...links.filter((link) => !link.startsWith(seeded.base)).map((link) => `${place} links to ${link}`));
    }
    wrong.push(...await judge(opened));
    await opened.context.close();
    return wrong;
  },

  async "a refused request is verified again"(browser, { seeded }) {
    const opened = await tab(browser, { base: seeded.base, token: TOKEN });
    const { page } = opened;
    await page.goto(seeded.base);
    await shown(page);
    assert.match(await page.textContent("main .problems") ?? "", /refused whose sender knows the secret/);
    assert.match(await page.textContent("nav a[data-page=refused] b") ?? "", /^\d+$/);
    await page.goto(`${seeded.base}refused`);
    await shown(page);
    await page.waitForSelector("main .state:has-text('sender knows the secret')");
    await page.locator("table").first().locator("button", { hasText: "Verify again" }).first().click();
    assert.match(await page.textContent("#confirm button.go") ?? "", /^Verify \d+ requests?$/);
    const wrong = await judge(opened);
    await page.click("#confirm button.go");
    await page.waitForSelector("#confirm:not([open])", { state: "attached" });
    const said = page.locator("#said", { hasText: /^0 of \d+ are valid now/ });
    await said.waitFor();
    assert.ok((await said.boundingBox())?.width > 50, "the sentence is seen");
    await shown(page);
    await opened.context.close();
    return wrong;
  },

  async "a subscription is replaced only when that is confirmed"(browser, { seeded }) {
    const opened = await tab(browser, { base: seeded.base, token: TOKEN });
    const { page } = opened;
    const add = async (url, secret) => {
      await page.goto(`${seeded.base}consumers`);
      await shown(page);
      await page.click("a[data-panel]");
      await page.fill("#panel input[name=name]", "ops");
      await page.fill("#panel input[name=webhookUrl]", url);
      await page.fill("#panel input[name=secret]", secret);
      await page.click("#panel button[type=submit]");
    };
    const ops = async () => (await seeded.api("api/subscriptions")).subscriptions.find((one) => one.name === "ops");
    await add("http://127.0.0.1:1/first", "a-secret");
    await page.waitForSelector("#panel:not([open])", { state: "attached" });
    await add("http://127.0.0.1:1/second", "");
    await page.waitForSelector("#panel output:has-text('ops exists: replace it?')");
    assert.equal((await ops()).hasSecret, true);
    const wrong = await judge(opened);
    await page.click("#panel button:has-text('Replace it')");
    await page.waitForSelector("#panel:not([open])", { state: "attached" });
    assert.equal((await ops()).webhookUrl, "http://127.0.0.1:1/second");
    await seeded.api("sessions/*/webhook?name=ops", "DELETE");
    await opened.context.close();
    return wrong;
  },

  async "a subscription is changed, and tested"(browser, { seeded }) {
    const opened = await tab(browser, { base: seeded.base, token: TOKEN });
    const { page } = opened;
    await page.goto(`${seeded.base}consumers`);
    await shown(page);
    await page.click("a[data-panel]");
    await page.fill("#panel input[name=name]", "desk");
    await page.fill("#panel input[name=webhookUrl]", "http://127.0.0.1:1/first");
    await page.click("#panel button[type=submit]");
    await page.waitForSelector("#panel:not([open])", { state: "attached" });
    await page.goto(`${seeded.base}consumers/${encodeURIComponent("subscription:*:desk")}`);
    await shown(page);
    await page.click("a[data-panel]:has-text('Edit')");
    assert.equal(await page.inputValue("#panel input[name=webhookUrl]"), "http://127.0.0.1:1/first");
    await page.fill("#panel input[name=webhookUrl]", "http://127.0.0.1:1/second");
    for (const kind of ["message", "connection", "unknown"]) await page.check(`#panel input[value=${kind}]`);
    const wrong = await judge(opened);
    await page.click("#panel button[type=submit]");
    await page.waitForSelector("main dd:has-text('http://127.0.0.1:1/second')");
    await page.waitForSelector("main dd:has-text('message, connection, unknown')");
    // None ticked is all.
    await page.click("a[data-panel]:has-text('Edit')");
    for (const kind of ["message", "connection", "unknown"]) await page.uncheck(`#panel input[value=${kind}]`);
    await page.click("#panel button[type=submit]");
    await page.waitForSelector("main dd:text-is('all')");
    await page.click("main button:has-text('Send a test')");
    assert.equal(await page.textContent("#confirm button.go"), "Send 1 test to desk");
    await page.click("#confirm button.go");
    await page.waitForSelector("#said.is-bad:has-text('connection refused')");
    await seeded.api("sessions/*/webhook?name=desk", "DELETE");
    await opened.context.close();
    return wrong;
  },

  async "a source receives a test event"(browser, { seeded }) {
    const opened = await tab(browser, { base: seeded.base, token: TOKEN });
    const { page } = opened;
    await page.goto(seeded.base);
    await shown(page);
    await page.click("main button:has-text('Test')");
    await page.click("#confirm button.go");
    const said = page.locator("#said", { hasText: "It reaches handler:archive" });
    await said.waitFor();
    const id = (await said.textContent())?.match(/Received as ([0-9a-f-]+)/)?.[1];
    await page.goto(`${seeded.base}events/${id}`);
    await shown(page);
    await page.waitForSelector(".head .state:has-text('test')");
    const wrong = await judge(opened);
    await opened.context.close();
    return wrong;
  },

  async "a change that failed can be tried again"(browser, { seeded }) {
    const opened = await tab(browser, { base: seeded.base, token: TOKEN });
    const { page } = opened;
    await page.goto(`${seeded.base}consumers/${encodeURIComponent("handler:archive")}`);
    await shown(page);
    await page.route("**/pause", (route) => route.abort());
    await page.click("button[data-call]:has-text('Pause')");
    await page.click("#confirm button.go");
    await page.waitForFunction(() => document.querySelector("#confirm output")?.textContent);
    await page.unroute("**/pause");
    await page.click("#confirm button.go");
    await page.waitForSelector("#said:has-text('Pause archive: done')");
    await page.waitForSelector("main .state:has-text('paused')");
    await seeded.api("api/consumers/handler:archive/resume", "POST");
    await opened.context.close();
    return [];
  },

  async "the theme is kept"(browser, { seeded }) {
    const opened = await tab(browser, { base: seeded.base, token: TOKEN });
    const { page } = opened;
    const back = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    await page.goto(seeded.base);
    await shown(page);
    const light = await back();
    await page.click("#theme");
    await page.click("#theme");
    const dark = await back();
    assert.notEqual(light, dark);
    await page.reload();
    await shown(page);
    assert.equal(await back(), dark);
    await opened.context.close();
    return [];
  },

  async "a server that is gone is told"(browser, { empty }) {
    const opened = await tab(browser, { base: empty.base, token: TOKEN });
    const { page } = opened;
    await page.goto(empty.base);
    await shown(page);
    await page.route("**/ui/**", (route) => route.abort());
    await page.click("nav a[data-page=events]");
    await page.waitForSelector("#connection[data-state=off]");
    await page.unroute("**/ui/**");
    await page.waitForSelector("#connection[data-state=on], #connection[data-state=live]");
    await shown(page);
    // Or in the middle of an answer.
    await page.evaluate(() => {
      const { text } = Response.prototype;
      Response.prototype.text = () => {
        Response.prototype.text = text;
        return Promise.reject(new TypeError("network error"));
      };
    });
    await page.click("nav a[data-page=dead]");
    await page.waitForSelector("#connection[data-state=off]");
    await shown(page);
    assert.equal(await page.textContent("h1"), "Dead letters");
    await page.goto(`${empty.base}consumers`);
    await shown(page);
    await page.route("**/ui/**", (route) => route.abort());
    await page.click("a[data-panel]");
    await page.waitForSelector("#said:has-text('The server cannot be reached.')");
    await page.waitForSelector("#connection[data-state=off]");
    await opened.context.close();
    return [];
  },
};
