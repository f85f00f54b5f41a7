// One page in one variant: what must hold for each.

import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";

const axe = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const LEVELS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"];

/** Opens a tab that notes what must not happen. */
export async function tab(browser, { base, token, theme = "light", width = 1280 }) {
  const context = await browser.newContext({
    viewport: { width, height: 800 }, colorScheme: theme, reducedMotion: "reduce", locale: "en-GB", timezoneId: "UTC",
  });
  await context.grantPermissions(["clipboard-read", "clipboard-write"], { origin: base.slice(0, -1) });
  const page = await context.newPage();
  const wrong = [];
  await page.addInitScript((token) => {
    globalThis.violations = [];
    addEventListener("securitypolicyviolation", (event) => {
      globalThis.violations.push(`${event.violatedDirective} ${event.blockedURI}`);
    });
    if (token) sessionStorage.setItem("offhook-token", token);
  }, token);
  page.on("console", (message) => {
    // An answer that is no success is told to the reader; the browser notes it too.
    if (message.type() === "error" && !/Failed to load resource: the server responded/.test(message.text())) {
      wrong.push(`console: ${message.text()}`);
    }
  });
  page.on("pageerror", (error) => wrong.push(`error: ${error.message}`));
  page.on("request", (request) => {
    const url = request.url();
    if (!url.startsWith(base) && !url.startsWith("blob:")) wrong.push(`request elsewhere: ${url}`);
  });
  return { page, context, wrong };
}

/** Waits until the page is there. */
export async function shown(page) {
  await page.waitForSelector("main:not([aria-busy]) article", { timeout: 30_000 });
}

/** Everything that is wrong with the page as it is shown. */
export async function judge({ page, wrong }) {
  const found = [...wrong];
  found.push(...(await page.evaluate("globalThis.violations")).map((text) => `policy: ${text}`));
  if ((await page.evaluate("globalThis.hostile")) !== undefined) found.push("a hostile text has run");
  const sideways = await page.evaluate(() => {
    const most = document.documentElement.clientWidth;
    if (document.documentElement.scrollWidth <= most) return null;
    const wide = [...document.querySelectorAll("body *")].filter((one) => one.getBoundingClientRect().right > most + 1);
    return wide.slice(0, 3).map((one) => one.outerHTML.slice(0, 120)).join("\n    ");
  });
  if (sideways !== null) found.push(`it scrolls sideways:\n    ${sideways}`);
  await page.evaluate(axe);
  const { violations } = await page.evaluate((levels) => globalThis.axe.run({ runOnly: levels }), LEVELS);
  for (const { id, nodes } of violations) {
    found.push(`axe ${id}: ${nodes.slice(0, 3).map((node) => `${node.html.slice(0, 160)}`).join("\n    ")}`);
  }
  return found;
}
