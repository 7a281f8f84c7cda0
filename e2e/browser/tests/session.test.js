// @ts-check
// Sessions with reloads, many tabs, expired tokens and without a network.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { go, launch, open, press, signIn, visit } from './console.js';
import { BROKER, CONSOLE } from './place.js';

/** @type {import('playwright-core').Browser} */
let browser;
/** @type {Awaited<ReturnType<typeof visit>>} */
let visitor;

before(async () => {
  browser = await launch();
  visitor = await visit(browser);
  await open(visitor.page);
  await signIn(visitor.page);
});
after(async () => browser?.close());

test('tokens are not in storage or readable cookies', async () => {
  const { page, context } = visitor;
  const kept = await page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie]));
  assert.doesNotMatch(kept, /eyJ|Bearer/);
  const cookies = (await context.cookies(BROKER)).filter(({ name }) => name.includes('weft-session'));
  assert.equal(cookies.length, 1);
  assert.equal(cookies[0]?.httpOnly, true);
  assert.equal(cookies[0]?.sameSite, 'Strict');
});

test('stays signed in after interrupted reloads', async () => {
  const { page } = visitor;
  for (let times = 0; times < 4; times += 1) {
    await page.goto(`${CONSOLE}/account`, { waitUntil: 'commit' });
  }
  await page.locator('#who').waitFor();
  await page.locator('#sessions-list li').first().waitFor();
});

test('tabs that open at the same time stay signed in', async () => {
  const { context } = visitor;
  const pages = await Promise.all([1, 2, 3, 4].map(() => context.newPage()));
  await Promise.all(pages.map((page) => page.goto(`${CONSOLE}/account`)));
  for (const page of pages) {
    await page.locator('#who').waitFor();
    await page.locator('#sessions-list li').first().waitFor();
    await page.close();
  }
});

test('refreshes a refused access token once', async () => {
  const { page, context } = visitor;
  await go(page, 'Send');
  let refused = 0;
  let refreshed = 0;
  await context.route(`${BROKER}/v1/users/me`, (route) => {
    if (route.request().method() === 'OPTIONS' || refused > 0) return route.continue();
    refused += 1;
    const headers = { 'access-control-allow-origin': CONSOLE };
    return route.fulfill({ status: 401, headers, json: { title: 'Unauthorized', status: 401, detail: 'the token has ended' } });
  });
  page.on('request', (request) => {
    if (request.url().endsWith('/v1/session/refresh') && request.method() === 'POST') refreshed += 1;
  });
  await page.getByRole('button', { name: 'Who am I?' }).click();
  await page.locator('#exchange-view', { hasText: '200 OK' }).waitFor();
  assert.deepEqual([refused, refreshed], [1, 1]);
  await context.unroute(`${BROKER}/v1/users/me`);
});

test('tells what to do without a network and when a service is unavailable', async () => {
  const { page, context } = visitor;
  await context.route(`${BROKER}/handle`, (route) => route.abort('internetdisconnected'));
  await page.getByRole('button', { name: 'Log by RPC' }).click();
  await page.locator('#exchange-view .notice', { hasText: 'can’t be reached' }).waitFor();
  await context.unroute(`${BROKER}/handle`);
  for (const [status, words] of /** @type {const} */ ([[503, 'Unavailable'], [429, 'Too many requests']])) {
    const headers = { 'access-control-allow-origin': CONSOLE, 'access-control-expose-headers': 'Retry-After', 'retry-after': '7' };
    await context.route(`${BROKER}/handle`, (route) =>
      route.request().method() === 'OPTIONS' ? route.continue() : route.fulfill({ status, headers, json: { error: true, message: 'away' } }));
    await page.getByRole('button', { name: 'Log by RPC' }).click();
    await page.locator('#exchange-view .notice', { hasText: words }).filter({ hasText: 'Try again in 7 seconds' }).waitFor();
    await context.unroute(`${BROKER}/handle`);
  }
  assert.equal((await press(page, 'Send again')).status, 202);
});

test('signing out in one tab signs out the others', async () => {
  const { page, context } = visitor;
  const other = await context.newPage();
  await open(other, '/logs');
  await other.locator('#who').waitFor();
  await page.getByRole('button', { name: 'Sign out', exact: true }).first().click();
  await page.locator('#sign-in').waitFor();
  await other.locator('#sign-in').waitFor();
  assert.equal(await other.locator('#logs').isVisible(), false);
});
