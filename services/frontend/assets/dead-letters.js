// @ts-check
// Dead letters. Viewers see type and reason; admins can also read, replay and discard one.

import { call, path } from './api.js';
import { confirmed } from './confirm.js';
import { announce, busy, button, byId, make, onSubmit, tell } from './dom.js';
import { messageOf } from './errors.js';
import { badge, pairs, pretty, timeElement, traceLink } from './format.js';
import { may } from './roles.js';

/** @import {DeadLetter, Page, View} from './types' */

const LIMIT = 100;

const form = byId('dead-letters-form', HTMLFormElement);
const notice = byId('dead-letters-notice', HTMLElement);
const result = byId('dead-letters-result', HTMLElement);
const none = byId('dead-letters-none', HTMLElement);
const list = byId('dead-letters-list', HTMLOListElement);
const queue = byId('dead-letters-queue', HTMLSelectElement);
const more = byId('dead-letters-more', HTMLButtonElement);

/** @type {string | null} */
let cursor = null;
let signal = new AbortController().signal;

/** @param {boolean} append */
async function load(append) {
  const mine = signal;
  tell(notice, null);
  result.setAttribute('aria-busy', 'true');
  try {
    const where = path(['v1', 'dead-letters'], { queue: queue.value, limit: LIMIT, cursor: append ? cursor : null });
    const page = await call('GET', where, { signal: mine });
    const { items, next_cursor } = /** @type {Page<DeadLetter>} */ (page);
    if (append) list.append(...items.map(item));
    else list.replaceChildren(...items.map(item));
    cursor = next_cursor ?? null;
    more.hidden = cursor === null;
    count(items.length === 1 ? '1 dead letter' : `${items.length} dead letters`);
  } catch (error) {
    tell(notice, messageOf(error));
  } finally {
    if (mine === signal) result.setAttribute('aria-busy', 'false');
  }
}

/** @param {string} message */
function count(message) {
  none.hidden = list.childElementCount > 0;
  none.textContent = `${queue.value} has no dead letters.`;
  announce(message);
}

/**
 * @param {DeadLetter} letter
 * @param {...string} more
 */
const pathOf = (letter, ...more) => path(['v1', 'dead-letters', letter.queue, letter.id, ...more]);

/** @param {DeadLetter} letter */
const nameOf = (letter) => letter.event_id ?? letter.id;

/**
 * @param {DeadLetter} letter
 * @returns {HTMLLIElement}
 */
function item(letter) {
  const tries = letter.attempts === 1 ? '1 attempt' : `${letter.attempts} attempts`;
  const entry = make('li', { class: 'card' });
  entry.append(
    make('div', { class: 'head' }, make('h2', {}, letter.type), badge(tries, 'plain')),
    make('p', { class: 'reason' }, letter.reason ?? 'No reason recorded.'),
    make(
      'p',
      { class: 'muted small' },
      letter.source ? `from ${letter.source}, ` : '',
      timeElement(letter.dead_at),
      ...(letter.trace_id ? [' ', traceLink(letter.trace_id)] : []),
    ),
  );
  if (may('admin')) entry.append(...forAdmins(letter, entry));
  return entry;
}

/**
 * The body and the actions.
 * @param {DeadLetter} letter
 * @param {HTMLLIElement} entry
 */
function forAdmins(letter, entry) {
  const details = make('details', {}, make('summary', {}, 'Show'));
  details.addEventListener('toggle', () => void fill(details, letter), { once: true });
  const actions = make(
    'div',
    { class: 'row' },
    button('Replay', { 'aria-label': `Replay ${nameOf(letter)}` }, () => replay(letter, entry)),
    button('Discard', { class: 'danger', 'aria-label': `Discard ${nameOf(letter)}` }, () => discard(letter, entry)),
  );
  return [details, actions];
}

/**
 * Loads the body, which the list does not have.
 * @param {HTMLDetailsElement} details
 * @param {DeadLetter} letter
 */
async function fill(details, letter) {
  try {
    const now = /** @type {DeadLetter} */ (await call('GET', pathOf(letter)));
    const data = typeof now.data === 'string' ? pretty(now.data) : JSON.stringify(now.data, null, 2);
    details.append(pairs([['event', nameOf(now)], ['queue', now.queue]]), make('pre', {}, make('code', {}, data)));
  } catch (error) {
    details.append(make('p', { class: 'notice', role: 'alert' }, messageOf(error) ?? ''));
  }
}

/**
 * @param {DeadLetter} letter
 * @param {HTMLElement} entry
 */
async function replay(letter, entry) {
  await act(entry, () => call('POST', pathOf(letter, 'replay')), 'Replayed');
}

/**
 * @param {DeadLetter} letter
 * @param {HTMLElement} entry
 */
async function discard(letter, entry) {
  const text = `${letter.type} ${nameOf(letter)} will be deleted permanently.`;
  if (await confirmed({ title: 'Discard this event?', text, action: 'Discard' })) {
    await act(entry, () => call('DELETE', pathOf(letter)), 'Discarded');
  }
}

/**
 * @param {HTMLElement} entry
 * @param {() => Promise<unknown>} run
 * @param {string} done
 */
async function act(entry, run, done) {
  try {
    await run();
    const next = entry.nextElementSibling ?? entry.previousElementSibling;
    entry.remove();
    const focus = next?.querySelector('button') ?? byId('dead-letters-title', HTMLElement);
    focus.focus();
    tell(notice, `${done}.`, 'done');
    count(done);
  } catch (error) {
    tell(notice, messageOf(error));
  }
}

onSubmit(form, () => load(false));
more.addEventListener('click', () => void busy(more, () => load(true)));

/** @type {View} */
export const deadLettersView = {
  open(opened) {
    signal = opened;
    list.replaceChildren();
    none.hidden = true;
    more.hidden = true;
    return load(false);
  },
};
