// @ts-check
// Checks a view with axe in both colour schemes, on a phone and on a wide screen, and takes a screenshot of each.

import assert from 'node:assert/strict';
import { mkdir } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { readFile } from 'node:fs/promises';
import { SCREENSHOTS } from './place.js';

/** @import {Page} from 'playwright-core' */

const AXE = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const LOOKS = /** @type {const} */ ([
  ['light', 1440, 900],
  ['dark', 1440, 900],
  ['light', 320, 720],
  ['dark', 320, 720],
]);

/**
 * @param {Page} page
 * @param {string} name of the screenshots
 */
export async function looksGood(page, name) {
  await mkdir(SCREENSHOTS, { recursive: true });
  const size = page.viewportSize();
  for (const [colorScheme, width, height] of LOOKS) {
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
    await page.setViewportSize({ width, height });
    const look = `${name}, ${colorScheme}, ${width} pixels`;
    await page.screenshot({ path: `${SCREENSHOTS}/${name}-${colorScheme}-${width}.png`, fullPage: true });
    const tooWide = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
    assert.ok(tooWide <= 0, `${look}: ${tooWide} pixels wider than the window`);
    assert.deepEqual(await violations(page), [], look);
  }
  await page.emulateMedia({ colorScheme: 'light', reducedMotion: null });
  if (size) await page.setViewportSize(size);
}

/**
 * Runs axe in an isolated world, because the content security policy of the page forbids other scripts.
 * @param {Page} page
 * @returns {Promise<string[]>}
 */
async function violations(page) {
  const session = await page.context().newCDPSession(page);
  try {
    const { frameTree } = await session.send('Page.getFrameTree');
    const world = { frameId: frameTree.frame.id, worldName: 'axe' };
    const { executionContextId: contextId } = await session.send('Page.createIsolatedWorld', world);
    await session.send('Runtime.evaluate', { contextId, expression: AXE });
    const run = "axe.run(document).then(({ violations }) => JSON.stringify(violations.map((v) => `${v.id}: ${v.help}: ${v.nodes.map((n) => `${n.html} (${n.failureSummary})`).join(' | ')}`)))";
    const { result, exceptionDetails } = await session.send('Runtime.evaluate', { contextId, expression: run, awaitPromise: true, returnByValue: true });
    assert.equal(exceptionDetails, undefined, 'axe did not run');
    return JSON.parse(String(result.value));
  } finally {
    await session.detach();
  }
}
