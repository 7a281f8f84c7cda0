// @ts-check
// Opens every view as an admin: each action of the broker with its trace, log entry and mail, and the look of each view.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { eventually, fresh, go, launch, open, press, signIn, visit } from './console.js';
import { looksGood } from './looks.js';
import { ADMIN, CONSOLE, JAEGER, MAIL } from './place.js';

/** @type {import('playwright-core').Browser} */
let browser;
/** @type {Awaited<ReturnType<typeof visit>>} */
let visitor;

before(async () => {
  browser = await launch();
  visitor = await visit(browser);
});
after(async () => browser?.close());

/** @typedef {{ subject: string, to: Array<{ address: string }> }} Mail */

const mails = async () => /** @type {Mail[]} */ (await (await fetch(`${MAIL}/api/email`)).json());
const isTo = (/** @type {Mail} */ mail, /** @type {string} */ person) => mail.to.some(({ address }) => address === person);
const mailed = (/** @type {string} */ subject, /** @type {string} */ to) =>
  eventually(`a mail "${subject}" to ${to}`, async () => (await mails()).find((mail) => mail.subject.includes(subject) && isTo(mail, to)));

test('asks to sign in, and allows to test the broker without', async () => {
  const { page } = visitor;
  await open(page);
  await looksGood(page, 'signed-out');
  assert.equal((await press(page, 'Test broker')).status, 200);
  assert.equal((await press(page, 'Who am I?')).status, 401);
  await page.locator('#exchange-view .notice', { hasText: 'Not signed in' }).waitFor();
  await page.goto(`${CONSOLE}/logs`);
  await page.locator('#sign-in').waitFor();
  assert.equal(await page.locator('#logs').isVisible(), false);
  await page.goto(`${CONSOLE}/nothing`);
  await looksGood(page, 'not-found');
});

test('explains a errors password, and opens the view after the right one', async () => {
  const { page } = visitor;
  await open(page, '/logs');
  await page.fill('#sign-in-email', 'nobody@example.com');
  await page.fill('#sign-in-password', 'not the password');
  await page.click('#sign-in-form button');
  await page.locator('#sign-in-notice', { hasText: /credentials|Too many/ }).waitFor();
  await looksGood(page, 'sign-in-refused');
  await signIn(page);
  await page.locator('#logs').waitFor();
  assert.equal(await page.locator('#who-email').innerText(), ADMIN.email);
});

test('every button of Send works', async () => {
  const { page } = visitor;
  await go(page, 'Send');
  assert.equal((await press(page, 'Test broker')).status, 200);
  assert.equal((await press(page, 'Who am I?')).status, 200);
  assert.equal((await press(page, 'Log by RPC')).status, 202);
  assert.equal((await press(page, 'Log by gRPC')).status, 202);
  const subject = fresh();
  await page.fill('#mail-to', 'reader@example.com');
  await page.fill('#mail-subject', subject);
  assert.equal((await press(page, 'Send mail')).status, 202);
  const sent = await page.locator('#exchange-view pre').first().innerText();
  assert.match(sent, /authorization: Bearer …/, 'the access token is not shown');
  await looksGood(page, 'send');
  await mailed(subject, 'reader@example.com');
});

test('shows the trace of an event from broker to logger, with a link to Jaeger', async () => {
  const { page } = visitor;
  await go(page, 'Send');
  await page.fill('#event-name', fresh());
  await page.getByLabel('Error', { exact: true }).check();
  const { status, traceId } = await press(page, 'Publish event');
  assert.equal(status, 202);
  await page.locator('#exchange-view .trace-of a').click();
  for (const service of ['broker', 'listener', 'logger']) {
    await eventually(`a span of ${service}`, async () => {
      if ((await page.locator('#trace-spans .service', { hasText: service }).count()) > 0) return true;
      if ((await page.locator('#trace-result[aria-busy="false"]').count()) > 0) await page.reload();
      return false;
    });
  }
  const first = page.locator('#trace-spans button').first();
  await first.click();
  assert.equal(await first.getAttribute('aria-expanded'), 'true');
  await page.locator('#trace-spans .details', { hasText: 'http.route' }).first().waitFor();
  assert.equal(await page.locator('#trace-jaeger').getAttribute('href'), `${JAEGER}/trace/${traceId}`);
  await page.locator('#trace-result[aria-busy="false"]').waitFor();
  await looksGood(page, 'trace');
  await page.getByRole('link', { name: 'Log entries of this trace' }).click();
  await page.locator('#logs-rows tr', { hasText: 'ERROR' }).first().waitFor();
});

test('waits for an unknown trace and then reports no spans', async () => {
  const { page } = visitor;
  await page.goto(`${CONSOLE}/trace/${'0'.repeat(31)}1`);
  await page.locator('#trace-result[aria-busy="true"]').waitFor();
  await page.locator('#trace-notice', { hasText: 'no spans' }).waitFor();
  assert.equal(await page.locator('#trace-result').getAttribute('aria-busy'), 'false');
  await looksGood(page, 'trace-missing');
});

test('filters logs, loads more, and keeps filters in the URL', async () => {
  const { page } = visitor;
  const name = fresh();
  await open(page);
  await page.fill('#log-name', name);
  assert.equal((await press(page, 'Log by RPC')).status, 202);
  await go(page, 'Logs');
  await page.locator('#logs-rows tr').first().waitFor();
  await looksGood(page, 'logs');
  await page.fill('#logs-text', name);
  await page.selectOption('#logs-level', 'INFO');
  await page.getByRole('button', { name: 'Show logs' }).click();
  await page.locator('#logs-range', { hasText: 'Searched since' }).waitFor();
  await page.locator('#logs-rows tr', { hasText: name }).waitFor();
  assert.equal(await page.locator('#logs-rows tr').count(), 1);
  assert.match(page.url(), new RegExp(`text=${name}`));
  await page.reload();
  await page.locator('#logs-rows tr', { hasText: name }).waitFor();
  await page.selectOption('#logs-level', 'FATAL');
  await page.getByRole('button', { name: 'Show logs' }).click();
  await page.locator('#logs-none').waitFor();
  await page.getByRole('button', { name: 'Clear filters' }).click();
  await page.locator('#logs-rows tr').first().waitFor();
  assert.equal(await page.locator('#logs-range').isVisible(), false);
  const more = page.getByRole('button', { name: 'Load more' });
  if (await more.isVisible()) {
    const had = await page.locator('#logs-rows tr').count();
    await more.click();
    await eventually('a second page', async () => (await page.locator('#logs-rows tr').count()) > had);
  }
});

test('the account page has sessions, password rules and users', async () => {
  const { page } = visitor;
  await go(page, 'Account');
  await page.locator('#sessions-list .badge', { hasText: 'This session' }).waitFor();
  await page.locator('#users-list li', { hasText: ADMIN.email }).waitFor();
  await page.fill('#password-current', ADMIN.password);
  await page.fill('#password-new', 'short');
  await page.getByRole('button', { name: 'Change password' }).click();
  await page.locator('#password-notice:visible').waitFor();
  await looksGood(page, 'account');
  await page.getByRole('button', { name: 'Sign out everywhere' }).click();
  await looksGood(page, 'confirm');
  await page.getByRole('button', { name: 'Cancel' }).click();
  assert.equal(await page.locator('#confirm').isVisible(), false);
});

/**
 * Creates a user on the account page.
 * @param {{ email: string, password: string }} user
 */
async function makeUser(user) {
  const { page } = visitor;
  await page.fill('#new-user-email', user.email);
  await page.fill('#new-user-password', user.password);
  await page.getByRole('button', { name: 'Create user' }).click();
  await page.locator('#new-user-notice', { hasText: `${user.email} is created` }).waitFor();
}

const newUser = () => ({ email: `${fresh()}@example.com`, password: `${fresh()}-${fresh()}` });

test('shows views according to the role', async () => {
  const { page } = visitor;
  const user = newUser();
  await makeUser(user);
  const other = await visit(browser);
  await open(other.page, '/dead-letters');
  await signIn(other.page, user);
  await other.page.locator('#denied-why', { hasText: 'the role viewer or admin. Your role is user' }).waitFor();
  await looksGood(other.page, 'denied');
  for (const name of ['Logs', 'Trace', 'Dead letters']) {
    assert.equal(await other.page.getByRole('link', { name, exact: true }).isVisible(), false, name);
  }
  await other.page.goto(`${CONSOLE}/logs`);
  await other.page.locator('#denied-why').waitFor();
  await page.getByLabel(`Role of ${user.email}`).selectOption('viewer');
  await page.locator('#users-notice', { hasText: `${user.email} has the role viewer` }).waitFor();
  await other.page.reload();
  await other.page.locator('#logs').waitFor();
  await go(other.page, 'Dead letters');
  await other.page.locator('#dead-letters-result[aria-busy="false"]').waitFor();
  assert.equal(await other.page.getByRole('button', { name: /^(Replay|Discard)/ }).count(), 0);
  assert.equal(await other.page.locator('#users').isVisible(), false);
  await page.getByRole('button', { name: `Deactivate ${user.email}` }).click();
  await page.locator('#confirm-yes').click();
  await page.locator('#users-list li', { hasText: user.email }).getByText('Inactive').waitFor();
  await other.page.reload();
  await other.page.locator('#sign-in').waitFor();
  await page.getByRole('button', { name: `Reactivate ${user.email}` }).click();
  await page.locator('#users-notice', { hasText: 'may sign in again' }).waitFor();
  await signIn(other.page, user);
  await page.getByRole('button', { name: `Delete ${user.email}` }).click();
  await page.locator('#confirm-yes').click();
  await page.locator('#users-notice', { hasText: 'is deleted' }).waitFor();
  await other.page.reload();
  await other.page.locator('#sign-in').waitFor();
  assert.deepEqual(other.errors, []);
  await other.context.close();
});

/**
 * Waits for a reset mail to a person and returns its link.
 * @param {string} to
 * @param {string[]} known links of earlier mails
 */
const resetLink = (to, known = []) =>
  eventually(`a reset mail to ${to}`, async () => {
    const own = /** @type {Array<Mail & { text: string }>} */ (await mails()).filter((mail) => isTo(mail, to));
    const links = own.map((mail) => /http\S+\/account\/reset-password#\S+/.exec(mail.text ?? '')?.[0]);
    return links.find((link) => link && !known.includes(link));
  });

test('a reset link sets a new password once', async () => {
  const { page } = visitor;
  const user = newUser();
  await makeUser(user);
  const other = await visit(browser);
  await open(other.page);
  await other.page.getByRole('link', { name: 'Forgot your password?' }).click();
  await other.page.getByRole('heading', { name: 'Forgot your password?' }).waitFor();
  await looksGood(other.page, 'forgot-password');
  await other.page.fill('#forgot-email', user.email);
  await other.page.getByRole('button', { name: 'Send me a link' }).click();
  await other.page.locator('#forgot-notice', { hasText: 'a mail with a link is on its way' }).waitFor();
  const link = await resetLink(user.email);
  await other.page.goto(link);
  await other.page.locator('#reset-form').waitFor();
  assert.equal(other.page.url().includes('#'), false, 'the token is not in the address');
  await looksGood(other.page, 'reset-password');
  const password = `${fresh()}-${fresh()}`;
  await other.page.fill('#reset-new', password);
  await other.page.getByRole('button', { name: 'Set password' }).click();
  await other.page.locator('#reset-done').waitFor();
  await other.page.locator('#reset-password').getByRole('link', { name: 'Sign in' }).click();
  await signIn(other.page, { email: user.email, password });
  // The used link in a new page, as if opened from the mail.
  const again = await other.context.newPage();
  await again.goto(link);
  await again.fill('#reset-new', `${fresh()}-${fresh()}`);
  await again.getByRole('button', { name: 'Set password' }).click();
  await again.locator('#reset-notice', { hasText: 'was used' }).waitFor();
  await page.getByRole('button', { name: `Send reset link to ${user.email}` }).click();
  await page.locator('#users-notice', { hasText: 'gets a mail' }).waitFor();
  await resetLink(user.email, [link]);
  assert.deepEqual(other.errors, []);
  await other.context.close();
});

test('signing out ends the session and sends a mail', async () => {
  const { page } = visitor;
  const goodbyes = async () => (await mails()).filter((mail) => mail.subject.includes('signed out') && isTo(mail, ADMIN.email)).length;
  const before = await goodbyes();
  await page.getByRole('button', { name: 'Sign out', exact: true }).first().click();
  await page.locator('#sign-in').waitFor();
  await eventually('the mail of the sign-out', async () => (await goodbyes()) > before);
  await page.reload();
  await page.locator('#sign-in').waitFor();
});

test('no errors in the browser', () => {
  assert.deepEqual(visitor.errors, []);
});
