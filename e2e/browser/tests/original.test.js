// @ts-check
// The Go original's front end with our broker. The page is a rewrite of what is known of the original: five buttons, three panes,
// the same requests, responses inserted as markup. It is served from an origin that the Stack allows.

import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { after, before, test } from 'node:test';
import { launch } from './console.js';
import { BROKER, ORIGINAL_ORIGIN } from './place.js';

const PAGE = `<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Test microservices</title></head><body>
<h1>Test microservices</h1>
<a id="brokerBtn" href="javascript:void(0);">Test Broker</a>
<a id="authBrokerBtn" href="javascript:void(0);">Test Auth</a>
<a id="logBtn" href="javascript:void(0);">Test Log</a>
<a id="mailBtn" href="javascript:void(0);">Test Mail</a>
<a id="logGBtn" href="javascript:void(0);">Test gRPC Log</a>
<div id="output">Output shows here...</div>
<pre id="payload">Nothing sent yet...</pre>
<pre id="received">Nothing received yet...</pre>
<script>
const [output, sent, received] = ['output', 'payload', 'received'].map((id) => document.getElementById(id));
function ask(id, path, payload) {
  document.getElementById(id).addEventListener('click', () => {
    const headers = new Headers();
    headers.append('Content-Type', 'application/json');
    const options = payload ? { method: 'POST', headers, body: JSON.stringify(payload) } : { method: 'POST' };
    fetch('${BROKER}' + path, options)
      .then((response) => response.json())
      .then((data) => {
        sent.innerHTML = payload ? JSON.stringify(payload, undefined, 4) : 'empty post request';
        received.innerHTML = JSON.stringify(data, undefined, 4);
        output.innerHTML += data.error
          ? '<br><strong>Error:</strong> ' + data.message
          : '<br><strong>Response from broker service</strong>: ' + data.message;
      })
      .catch((error) => { output.innerHTML += '<br><br>Error: ' + error; });
  });
}
ask('brokerBtn', '/');
ask('authBrokerBtn', '/handle', { action: 'auth', auth: { email: 'admin@example.com', password: 'verysecret' } });
ask('logBtn', '/handle', { action: 'log', log: { name: 'event', data: 'Some kind of data' } });
ask('mailBtn', '/handle', { action: 'mail', mail: { from: 'me@example.com', to: 'you@there.com', subject: 'Test email', message: 'Hello world!' } });
ask('logGBtn', '/log-grpc', { action: 'log', log: { name: 'event', data: 'Some kind of gRPC data' } });
</script></body></html>`;

/** @type {import('playwright-core').Browser} */
let browser;
/** @type {import('playwright-core').Page} */
let page;
const server = createServer((_, reply) => reply.setHeader('content-type', 'text/html').end(PAGE));

before(async () => {
  const { hostname, port } = new URL(ORIGINAL_ORIGIN);
  await new Promise((done, fail) => server.once('error', fail).listen(Number(port), hostname, () => done(undefined)));
  browser = await launch();
  page = await browser.newPage();
  await page.goto(ORIGINAL_ORIGIN);
});
after(async () => {
  await browser?.close();
  server.close();
});

/**
 * @param {string} button
 * @param {RegExp} output
 */
async function answers(button, output) {
  await page.click(`#${button}`);
  await page.locator('#output', { hasText: output }).waitFor();
  return JSON.parse(await page.locator('#received').innerText());
}

test('broker, log and gRPC buttons succeed', async () => {
  assert.deepEqual(await answers('brokerBtn', /Response from broker service: Hit the broker/), { error: false, message: 'Hit the broker' });
  assert.equal((await answers('logBtn', /Processed payload via RPC:event/)).error, false);
  assert.equal((await answers('logGBtn', /Response from broker service: logged/)).error, false);
});

test('auth and mail buttons show the refusal as an error', async () => {
  const auth = await answers('authBrokerBtn', /Error: (invalid credentials|.*too many)/i);
  assert.equal(auth.error, true);
  const mail = await answers('mailBtn', /Error: (?!invalid credentials).*Error: |Error: [^]*Error: /);
  assert.equal(mail.error, true);
});
