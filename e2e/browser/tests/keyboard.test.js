// @ts-check
// Uses the console with the keyboard alone, and checks the focus.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { launch, open, visit } from './console.js';
import { ADMIN } from './place.js';

/** @import {Page} from 'playwright-core' */

/** @type {import('playwright-core').Browser} */
let browser;
before(async () => {
  browser = await launch();
});
after(async () => browser?.close());

/** @param {Page} page */
const focused = (page) =>
  page.evaluate(() => {
    const { id = '', textContent = '' } = document.activeElement ?? {};
    return { id, text: (textContent ?? '').trim() };
  });

/**
 * Presses Tab until an element has the focus.
 * @param {Page} page
 * @param {string} wanted an id, or a text
 */
async function tabTo(page, wanted) {
  for (let presses = 0; presses < 60; presses += 1) {
    const { id, text } = await focused(page);
    if (id === wanted || text === wanted) {
      const outlined = await page.evaluate(() => getComputedStyle(document.activeElement ?? document.body).outlineStyle);
      assert.notEqual(outlined, 'none', `${wanted} has no visible focus`);
      return;
    }
    await page.keyboard.press('Tab');
  }
  assert.fail(`${wanted} can't be reached with Tab`);
}

test('signs in, sends, follows the trace and signs out without a mouse', async () => {
  const { page, errors } = await visit(browser);
  await open(page);
  await page.keyboard.press('Tab');
  assert.equal((await focused(page)).text, 'Skip to content');
  await page.keyboard.press('Enter');
  await tabTo(page, 'sign-in-email');
  const until = Date.now() + 150_000;
  for (;;) {
    await page.keyboard.type(ADMIN.email);
    await page.keyboard.press('Tab');
    await page.keyboard.type(ADMIN.password);
    const answered = page.waitForResponse((reply) => reply.url().endsWith('/handle') && reply.request().method() === 'POST');
    await page.keyboard.press('Enter');
    const reply = await answered;
    if (reply.status() === 202 || Date.now() > until) break;
    assert.equal(reply.status(), 429);
    await new Promise((done) => setTimeout(done, 1000 * Number(reply.headers()['retry-after'] ?? 1)));
    await page.locator('#sign-in-notice').waitFor();
    await page.locator('#sign-in-form').evaluate((form) => /** @type {HTMLFormElement} */ (form).reset());
    await page.locator('#sign-in-email').focus();
  }
  await page.locator('#who').waitFor();
  assert.equal((await focused(page)).id, 'send-title', 'the heading of the opened view has the focus');
  await tabTo(page, 'Test broker');
  await page.keyboard.press('Enter');
  await page.locator('#exchange-view .trace-of a').waitFor();
  assert.equal((await focused(page)).text, 'Test broker', 'the button keeps the focus');
  const status = page.locator('#status');
  assert.match(await status.innerText(), /POST \/: 200/, 'the result is announced');
  const traceId = (await page.locator('#exchange-view .trace-of a').innerText()).trim();
  await tabTo(page, traceId);
  await page.keyboard.press('Enter');
  await page.locator('#trace-spans button').first().waitFor();
  assert.equal((await focused(page)).id, 'trace-title');
  const span = (await page.locator('#trace-spans button').first().getAttribute('id')) ?? '';
  await tabTo(page, span);
  await page.keyboard.press('Space');
  assert.equal(await page.locator(`#${span}`).getAttribute('aria-expanded'), 'true');
  await page.locator('#main').focus();
  await page.keyboard.press('Shift+Tab');
  assert.equal((await focused(page)).id, 'sign-out');
  await page.keyboard.press('Enter');
  await page.locator('#sign-in').waitFor();
  assert.equal((await focused(page)).id, 'sign-in-title');
  assert.deepEqual(errors, []);
});
