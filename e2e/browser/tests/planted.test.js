// @ts-check
// Injects scripts into every field that a person or another service fills. The text must be shown unchanged, and nothing may run.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, test } from 'node:test';
import { connect } from 'amqplib';
import { PLANTED, eventually, fresh, go, launch, open, press, signIn, visit } from './console.js';
import { looksGood } from './looks.js';
import { BROKER, setting } from './place.js';

/** @type {import('playwright-core').Browser} */
let browser;
/** @type {Awaited<ReturnType<typeof visit>>} */
let visitor;

before(async () => {
  browser = await launch();
  // Also in the user agent of the session. Headers allow only ASCII.
  visitor = await visit(browser, { userAgent: `weft-test ${PLANTED}` });
  await open(visitor.page);
  await signIn(visitor.page);
});
after(async () => browser?.close());

const shows = (/** @type {string} */ where, text = PLANTED) =>
  visitor.page.locator(where, { hasText: text }).first().waitFor();

test('requests and responses are shown as text', async () => {
  const { page } = visitor;
  await page.fill('#log-name', PLANTED);
  await page.fill('#log-data', PLANTED);
  assert.equal((await press(page, 'Log by RPC')).status, 202);
  await shows('#exchange-view pre', 'onerror=alert(1)');
  assert.equal((await press(page, 'Log by gRPC')).status, 202);
  await page.fill('#event-name', PLANTED);
  await page.fill('#event-data', PLANTED);
  assert.equal((await press(page, 'Publish event')).status, 202);
  await page.fill('#mail-from', PLANTED);
  await page.fill('#mail-to', PLANTED);
  assert.equal((await press(page, 'Send mail')).status, 400);
  await looksGood(page, 'planted-send');
});

test('log entries, traces and filters are shown as text', async () => {
  const { page } = visitor;
  await go(page, 'Logs');
  await page.fill('#logs-text', PLANTED.slice(0, 40));
  await page.getByRole('button', { name: 'Show logs' }).click();
  await shows('#logs-rows td.entry strong');
  await page.locator('#logs-rows details summary').first().click();
  await shows('#logs-rows pre');
  await looksGood(page, 'planted-logs');
  await page.fill('#logs-service', PLANTED);
  await page.fill('#logs-trace', PLANTED);
  await page.getByRole('button', { name: 'Show logs' }).click();
  await page.locator('#logs-none:visible, #logs-notice:visible').first().waitFor();
  await page.reload();
  await page.locator('#logs-none:visible, #logs-notice:visible').first().waitFor();
  assert.equal(await page.inputValue('#logs-service'), PLANTED);
});

test('user names and user agents are shown as text', async () => {
  const { page } = visitor;
  await go(page, 'Account');
  const email = `${fresh()}@example.com`;
  await page.fill('#new-user-email', email);
  await page.fill('#new-user-first', PLANTED.slice(0, 60));
  await page.fill('#new-user-last', PLANTED.slice(0, 60));
  await page.fill('#new-user-password', `${fresh()}-${fresh()}`);
  await page.getByRole('button', { name: 'Create user' }).click();
  await page.locator('#new-user-notice', { hasText: 'is created' }).waitFor();
  await shows('#users-list li', PLANTED.slice(0, 60));
  await shows('#sessions-list li', 'onerror=alert(1)');
  await looksGood(page, 'planted-account');
  await page.getByRole('button', { name: `Deactivate ${email}` }).click();
  await page.locator('#confirm-yes').click();
  await page.locator('#users-list li', { hasText: email }).getByText('Inactive').waitFor();
});

/** Publishes a mail without the broker, which would refuse it: a label of the domain mixes writing directions. */
async function publishUndeliverable() {
  const mail = { from: 'sender@example.com', to: 'reader@\u05d0a.example', subject: PLANTED, message: PLANTED };
  const connection = await connect(setting('AMQP_URI'));
  const channel = await connection.createConfirmChannel();
  channel.publish('events', 'mail.send', Buffer.from(JSON.stringify(mail)), { messageId: randomUUID(), persistent: true });
  await channel.waitForConfirms();
  await connection.close();
}

test('a dead letter is listed, shown, replayed and discarded', async () => {
  const { page } = visitor;
  await publishUndeliverable();
  await go(page, 'Dead letters');
  await page.selectOption('#dead-letters-queue', 'listener.mail');
  const letters = page.locator('#dead-letters-list > li');
  const listed = async () => {
    await page.getByRole('button', { name: 'Show', exact: true }).click();
    await page.locator('#dead-letters-result[aria-busy="false"]').waitFor();
    return (await letters.count()) > 0;
  };
  await eventually('a dead letter', listed);
  await letters.last().locator('summary').click();
  await shows('#dead-letters-list pre', 'onerror=alert(1)');
  await looksGood(page, 'dead-letters');
  const id = await letters.last().locator('dd').first().innerText();
  await page.getByRole('button', { name: `Replay ${id}` }).click();
  await page.locator('#dead-letters-notice', { hasText: 'Replayed' }).waitFor();
  // The mail is still undeliverable, so it becomes a dead letter again.
  await eventually('the same dead letter', async () => (await listed()) && (await page.getByRole('button', { name: `Discard ${id}` }).count()) > 0);
  await page.getByRole('button', { name: `Discard ${id}` }).click();
  await page.locator('#confirm-yes').click();
  await page.locator('#dead-letters-notice', { hasText: 'Discarded' }).waitFor();
  await listed();
  assert.equal(await page.getByRole('button', { name: `Discard ${id}` }).count(), 0);
  await go(page, 'Logs');
  await page.fill('#logs-text', 'dead letter');
  await page.getByRole('button', { name: 'Show logs' }).click();
  await page.locator('#logs-rows tr', { hasText: 'discarded' }).first().waitFor();
});

test('responses of a malicious broker are shown as text', async () => {
  const { page, context } = visitor;
  await go(page, 'Logs');
  const reply = { error: true, message: PLANTED, detail: PLANTED, title: PLANTED, status: PLANTED };
  const headers = { 'access-control-allow-origin': new URL(page.url()).origin, 'retry-after': PLANTED };
  await context.route(`${BROKER}/v1/logs*`, (route) => route.fulfill({ status: 503, headers, json: reply }));
  await page.getByRole('button', { name: 'Show logs' }).click();
  await shows('#logs-notice');
  const evil = { id: PLANTED, time: PLANTED, service: PLANTED, level: PLANTED, name: PLANTED, data: PLANTED, trace_id: null, attributes: { [PLANTED]: PLANTED } };
  await context.unroute(`${BROKER}/v1/logs*`);
  await context.route(`${BROKER}/v1/logs*`, (route) => route.fulfill({ status: 200, headers, json: { items: [evil], next_cursor: PLANTED } }));
  await page.getByRole('button', { name: 'Show logs' }).click();
  await shows('#logs-rows td.entry strong');
  await page.locator('#logs-rows summary').click();
  await shows('#logs-rows dt');
  const span = { span_id: PLANTED, parent_span_id: PLANTED, service: PLANTED, name: PLANTED, kind: PLANTED, start_time: PLANTED, start_offset_us: 0, duration_us: 1, error: true, attributes: { [PLANTED]: PLANTED } };
  await context.route(`${BROKER}/v1/traces/*`, (route) => route.fulfill({ status: 200, headers, json: { trace_id: PLANTED, spans: [span] } }));
  await go(page, 'Trace');
  await page.fill('#trace-id', 'f'.repeat(32));
  await page.getByRole('button', { name: 'Open', exact: true }).click();
  await shows('#trace-spans .operation');
  await page.locator('#trace-spans button').click();
  await shows('#trace-spans dd');
});

test('no script has run', () => {
  assert.deepEqual(visitor.errors, []);
});
