// @ts-check
// Helpers that use the console like a person, and record errors in the browser.

import assert from 'node:assert/strict';
import { chromium } from 'playwright-core';
import { ADMIN, ARRIVES_WITHIN_MS, CHROMIUM, CONSOLE } from './place.js';

/** @import {Browser, Page} from 'playwright-core' */

/** Text that would run as a script if it were inserted as markup, attribute or template. */
export const PLANTED = [
  '<img src=x onerror=alert(1)>',
  '"><script>alert(2)</script>',
  '${alert(3)}{{alert(4)}}<%= alert(5) %>',
  "javascript:alert(6)//'--></title></textarea><svg onload=alert(7)>",
].join(' ');

export function launch() {
  // Chromium has no sandbox as root. Only our own pages are opened.
  return chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox', '--disable-dev-shm-usage'] });
}

/**
 * Opens a new browser context. `errors` collects dialogs, script errors and console errors of its pages.
 * @param {Browser} browser
 * @param {import('playwright-core').BrowserContextOptions} [options]
 */
export async function visit(browser, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  context.setDefaultTimeout(ARRIVES_WITHIN_MS);
  /** @type {string[]} */
  const errors = [];
  context.on('dialog', (dialog) => {
    errors.push(`dialog: ${dialog.message()}`);
    void dialog.dismiss();
  });
  context.on('weberror', (error) => errors.push(`script: ${error.error().message}`));
  context.on('console', (message) => {
    // The browser also logs responses with a status of 400 or more, which the tests check themselves.
    const status = message.text().startsWith('Failed to load resource: the server responded with');
    if (message.type() === 'error' && !status) errors.push(`console: ${message.text()}`);
  });
  await context.addInitScript(() => {
    document.addEventListener('securitypolicyviolation', (event) => {
      console.error(`policy: ${event.effectiveDirective} ${event.blockedURI} ${event.sample}`);
    });
  });
  const page = await context.newPage();
  return { context, page, errors };
}

/**
 * Opens a page of the console and waits until the session is checked.
 * @param {Page} page
 * @param {string} [path]
 */
export async function open(page, path = '/') {
  await page.goto(CONSOLE + path);
  await page.locator('#who:visible, #sign-in:visible').first().waitFor();
}

/**
 * Signs in with the form. When other tests have used up the limit, waits for the time in Retry-After.
 * @param {Page} page
 * @param {{ email: string, password: string }} [who]
 */
export async function signIn(page, who = ADMIN) {
  const until = Date.now() + 3 * ARRIVES_WITHIN_MS;
  for (;;) {
    await page.fill('#sign-in-email', who.email);
    await page.fill('#sign-in-password', who.password);
    const answered = page.waitForResponse((reply) => reply.url().endsWith('/handle') && reply.request().method() === 'POST');
    await page.click('#sign-in-form button');
    const reply = await answered;
    if (reply.status() !== 429 || Date.now() > until) {
      assert.equal(reply.status(), 202, `${who.email} can't sign in`);
      break;
    }
    await new Promise((done) => setTimeout(done, 1000 * Number(reply.headers()['retry-after'] ?? 1)));
  }
  await page.locator('#who').waitFor();
}

/**
 * Presses a button of *Send* and waits for its result.
 * @param {Page} page
 * @param {string} button
 * @returns {Promise<{ status: number, traceId: string }>}
 */
export async function press(page, button) {
  const answered = page.waitForResponse((reply) => reply.request().method() !== 'OPTIONS' && reply.request().resourceType() === 'fetch');
  await page.getByRole('button', { name: button, exact: true }).click();
  const reply = await answered;
  const traceId = (await reply.headerValue('traceresponse'))?.split('-')[1] ?? '';
  assert.match(traceId, /^[0-9a-f]{32}$/, `${button}: no trace`);
  await page.locator('#exchange-view .trace-of a', { hasText: traceId }).waitFor();
  return { status: reply.status(), traceId };
}

/**
 * Opens a view by its link.
 * @param {Page} page
 * @param {string} name
 */
export async function go(page, name) {
  await page.getByRole('navigation').getByRole('link', { name, exact: true }).click();
  await page.getByRole('heading', { level: 1, name, exact: true }).waitFor();
}

/**
 * Calls `look` until it returns a result.
 * @template T
 * @param {string} what
 * @param {() => Promise<T | null | undefined | false>} look
 * @returns {Promise<T>}
 */
export async function eventually(what, look) {
  const until = Date.now() + ARRIVES_WITHIN_MS;
  for (;;) {
    const found = await look();
    if (found) return found;
    if (Date.now() > until) throw new Error(`timed out after ${ARRIVES_WITHIN_MS / 1000} s waiting for ${what}`);
    await new Promise((done) => setTimeout(done, 250));
  }
}

/** A unique word. */
export const fresh = () => `run-${Date.now().toString(36)}-${Math.random().toString(36).slice(2, 8)}`;
