// @ts-check
// Opens the console several times with an empty cache. Prints the longest load time and the largest transfer.

import { chromium } from 'playwright-core';

const VISITS = 5;
const url = process.env.CONSOLE_URL;
if (!url) throw new Error("CONSOLE_URL is not set: 'make urls' prints it while 'make up' runs");

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM || '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-dev-shm-usage'],
});
let [load, transferred] = [0, 0];
for (let visit = 0; visit < VISITS; visit += 1) {
  const context = await browser.newContext();
  const page = await context.newPage();
  await page.goto(url, { waitUntil: 'load' });
  const measured = await page.evaluate(() => {
    const [page] = /** @type {PerformanceNavigationTiming[]} */ (performance.getEntriesByType('navigation'));
    const parts = /** @type {PerformanceResourceTiming[]} */ (performance.getEntriesByType('resource'));
    const own = parts.filter((part) => new URL(part.name).origin === location.origin);
    const bytes = own.reduce((sum, part) => sum + part.transferSize, page?.transferSize ?? 0);
    return { load: page?.loadEventEnd ?? Number.NaN, bytes };
  });
  load = Math.max(load, measured.load);
  transferred = Math.max(transferred, measured.bytes);
  await context.close();
}
await browser.close();
console.log(JSON.stringify({ load_s: load / 1000, transferred_kib: transferred / 1024 }));
