// @ts-check
// A button for each action of the broker.

import { ask, newKey } from './api.js';
import { announce, byId, onSubmit } from './dom.js';
import { outcome, render, renderLine } from './exchange.js';
import { currentUser, onChange } from './session.js';

/** @import {Exchange, View} from './types' */
/** @import {Request} from './http.js' */

/** Number of earlier exchanges kept. */
const KEPT = 12;

const panel = byId('exchange', HTMLElement);
const view = byId('exchange-view', HTMLElement);
const earlier = byId('earlier', HTMLElement);
const list = byId('earlier-list', HTMLOListElement);

/** @type {Array<{ request: Request, exchange: Exchange }>} newest first */
let kept = [];

/** @param {Request} request */
async function send(request) {
  panel.setAttribute('aria-busy', 'true');
  const exchange = await ask(request);
  panel.removeAttribute('aria-busy');
  kept = [{ request, exchange }, ...kept].slice(0, KEPT);
  show(exchange, request);
  list.replaceChildren(...kept.slice(1).map((each) => renderLine(each.exchange, () => show(each.exchange, each.request))));
  earlier.hidden = kept.length < 2;
  announce(`${request.method} ${request.path}: ${outcome(exchange)}`);
}

/**
 * @param {Exchange} exchange
 * @param {Request} request
 */
function show(exchange, request) {
  byId('exchange-none', HTMLElement).hidden = true;
  view.replaceChildren(...render(exchange, () => send(request)));
  view.hidden = false;
  // On a narrow screen the result is below the buttons.
  if (panel.getBoundingClientRect().top > window.innerHeight * 0.8) panel.scrollIntoView({ block: 'start' });
}

/** @param {unknown} body @param {string} [path] @returns {Request} */
const post = (body, path = '/handle') => ({ method: 'POST', path, body, key: newKey() });

onSubmit(byId('do-test', HTMLFormElement), () => send({ method: 'POST', path: '/' }));
onSubmit(byId('do-me', HTMLFormElement), () => send({ method: 'GET', path: '/v1/users/me' }));
onSubmit(byId('do-log', HTMLFormElement), (field, by) => {
  const body = { action: 'log', log: { name: field('name'), data: field('data') } };
  return send(post(body, by?.getAttribute('value') === 'grpc' ? '/log-grpc' : '/handle'));
});
onSubmit(byId('do-event', HTMLFormElement), (field) => {
  const event = { name: field('name'), data: field('data'), severity: field('severity') };
  return send(post({ action: 'event', event }));
});
onSubmit(byId('do-mail', HTMLFormElement), (field) => {
  const mail = { from: field('from'), to: field('to'), subject: field('subject'), message: field('message') };
  return send(post({ action: 'mail', mail }));
});

/** Fills empty address fields with the user's own address. */
function prefillAddress() {
  const email = currentUser()?.email ?? '';
  for (const id of ['mail-from', 'mail-to']) {
    const input = byId(id, HTMLInputElement);
    if (!input.value) input.value = email;
  }
}

onChange((user) => {
  if (user) return prefillAddress();
  // After a sign-out the next user must not see these requests.
  kept = [];
  list.replaceChildren();
  view.replaceChildren();
  earlier.hidden = view.hidden = true;
  byId('exchange-none', HTMLElement).hidden = false;
  byId('do-mail', HTMLFormElement).reset();
});

/** @type {View} */
export const sendView = { open: prefillAddress };
