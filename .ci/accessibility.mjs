// node accessibility.mjs CHROMIUM OUT PAGE...: opens each page wide, narrow, dark and as print in
// Chromium, writes pictures and a PDF to OUT, and fails on what axe-core, the console, the network
// or the width complains of.
import { mkdirSync } from "node:fs";
import { createRequire } from "node:module";
import { basename, dirname, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const require = createRequire(`${process.cwd()}/`);
const { chromium } = require("playwright-core");
const axe = require.resolve("axe-core/axe.min.js");
const [browserPath, out, ...pages] = process.argv.slice(2);
const VIEWS = [
  { name: "1280", width: 1280, media: "screen", colorScheme: "light" },
  { name: "400", width: 400, media: "screen", colorScheme: "light" },
  { name: "dark", width: 1280, media: "screen", colorScheme: "dark" },
  { name: "print", width: 794, media: "print", colorScheme: "light" },
];

async function complaints(page) {
  // The page's own policy allows no script; axe is evaluated beside it.
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  const found = violations.flatMap(({ id, help, nodes }) =>
    nodes.slice(0, 3).map(({ target, failureSummary }) => `${id} (${help}) at ${target}: ${failureSummary.replace(/\s+/g, " ")}`));
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
  return wide > 0 ? [...found, `the page is ${wide} px wider than the window`] : found;
}

async function look(browser, file, view) {
  const context = await browser.newContext({
    viewport: { width: view.width, height: 900 }, colorScheme: view.colorScheme, bypassCSP: true,
  });
  const page = await context.newPage();
  const found = [];
  page.on("console", (message) => found.push(`console: ${message.text()}`));
  page.on("pageerror", (error) => found.push(`error: ${error.message}`));
  page.on("request", (request) => {
    if (!/^(file|data):/.test(request.url())) found.push(`request: ${request.url()}`);
  });
  await page.emulateMedia({ media: view.media, colorScheme: view.colorScheme });
  await page.goto(pathToFileURL(resolve(file)).href);
  await page.addScriptTag({ path: axe });
  found.push(...(await complaints(page)));
  const name = `${out}/${basename(dirname(resolve(file)))}-${basename(file, ".html")}`;
  await page.screenshot({ path: `${name}-${view.name}.png`, fullPage: true });
  if (view.media === "print") await page.pdf({ path: `${name}.pdf`, format: "A4", preferCSSPageSize: true });
  await context.close();
  return found.map((text) => `${file} [${view.name}]: ${text}`);
}

mkdirSync(out, { recursive: true });
const browser = await chromium.launch({ executablePath: browserPath, args: ["--no-sandbox", "--disable-gpu"] });
let failed = 0;
for (const file of pages) {
  for (const view of VIEWS) {
    const found = await look(browser, file, view);
    found.forEach((text) => console.error(text));
    failed += found.length;
  }
}
await browser.close();
console.log(`${pages.length} pages, ${pages.length * VIEWS.length} views, ${failed} complaints`);
process.exit(failed ? 1 : 0);
