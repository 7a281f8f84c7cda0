// @ts-check
// Stored log entries, newest first. The filters are in the URL, so that a search can be shared.

import { call, path } from './api.js';
import { announce, busy, byId, make, onSubmit, tell } from './dom.js';
import { messageOf } from './errors.js';
import { badge, pairs, pretty, timeElement, traceLink } from './format.js';
import { setAddress } from './navigation.js';

/** @import {LogEntry, Logs, View} from './types' */

const PAGE = 50;
/** Characters of an entry's data in the table. The details have all of it. */
const SHORT = 240;
const FILTERS = ['service', 'level', 'text', 'trace_id', 'from', 'to'];
const TIMES = ['from', 'to'];

const form = byId('logs-filter', HTMLFormElement);
const notice = byId('logs-notice', HTMLElement);
const result = byId('logs-result', HTMLElement);
const table = byId('logs-table', HTMLTableElement);
const rows = byId('logs-rows', HTMLTableSectionElement);
const range = byId('logs-range', HTMLElement);
const none = byId('logs-none', HTMLElement);
const more = byId('logs-more', HTMLButtonElement);

/** @type {string | null} */
let cursor = null;
let signal = new AbortController().signal;

/** @param {URLSearchParams} query the filters in the page's URL */
function filtersOf(query) {
  return Object.fromEntries(FILTERS.map((name) => [name, query.get(name)]));
}

/** @param {boolean} append */
async function load(append) {
  const mine = signal;
  const query = filtersOf(new URLSearchParams(location.search));
  tell(notice, null);
  result.setAttribute('aria-busy', 'true');
  try {
    const where = path(['v1', 'logs'], { ...query, limit: PAGE, cursor: append ? cursor : null });
    const page = await call('GET', where, { signal: mine });
    show(/** @type {Logs} */ (page), append);
  } catch (error) {
    tell(notice, messageOf(error));
  } finally {
    if (mine === signal) result.setAttribute('aria-busy', 'false');
  }
}

/**
 * @param {Logs} page
 * @param {boolean} append
 */
function show({ items, next_cursor, default_from }, append) {
  const made = items.map(row);
  if (append) rows.append(...made);
  else rows.replaceChildren(...made);
  cursor = next_cursor ?? null;
  more.hidden = cursor === null;
  table.hidden = rows.childElementCount === 0;
  // An empty page may have a next one.
  none.hidden = !table.hidden || cursor !== null;
  if (!append) showRange(default_from ?? null);
  const count = items.length === 1 ? '1 entry' : `${items.length} entries`;
  announce(append ? `${count} more` : count);
}

/** @param {string | null} from start of the default time range, if only that was searched */
function showRange(from) {
  range.hidden = from === null;
  if (from !== null) {
    range.replaceChildren('Searched since ', timeElement(from), '. Set From, a service or a trace id to search further back.');
  }
}

/** @param {LogEntry} entry */
function row(entry) {
  const cell = (/** @type {string} */ label, /** @type {Array<Node | string>} */ ...content) =>
    make('td', { 'data-label': label }, ...content);
  return make(
    'tr',
    {},
    cell('Time', timeElement(entry.time)),
    cell('Level', badge(entry.level, levelKind(entry.level))),
    cell('Service', entry.service),
    make('td', { 'data-label': 'Entry', class: 'entry' }, make('strong', {}, entry.name), ...dataOf(entry)),
    cell('Trace', entry.trace_id ? traceLink(entry.trace_id) : make('span', { class: 'muted' }, 'none')),
  );
}

/** @param {string} level */
function levelKind(level) {
  if (level === 'ERROR' || level === 'FATAL') return 'bad';
  return level === 'WARNING' ? 'warn' : 'plain';
}

/** @param {LogEntry} entry */
function dataOf({ id, data, attributes }) {
  const short = data.length > SHORT ? `${data.slice(0, SHORT)}…` : data;
  const details = make('details', {}, make('summary', {}, 'Details'));
  // Created when opened, because most of a thousand rows never are.
  details.addEventListener(
    'toggle',
    () => {
      const known = Object.entries(attributes).map(([name, value]) => /** @type {[string, string]} */ ([name, value]));
      details.append(pairs([['id', id], ...known]), make('pre', {}, make('code', {}, pretty(data))));
    },
    { once: true },
  );
  return short ? [make('p', {}, short), details] : [details];
}

/** @param {(name: string) => string} field */
function toQuery(field) {
  const query = new URLSearchParams();
  for (const name of FILTERS) {
    const value = field(name).trim();
    // The field has local time; the URL has UTC, so that it can be shared across time zones.
    if (value) query.set(name, TIMES.includes(name) ? new Date(value).toISOString() : value);
  }
  return query.toString();
}

function fillForm() {
  const query = new URLSearchParams(location.search);
  for (const name of FILTERS) {
    const input = form.elements.namedItem(name);
    if (!(input instanceof HTMLInputElement || input instanceof HTMLSelectElement)) continue;
    const value = query.get(name) ?? '';
    input.value = TIMES.includes(name) ? localTime(value) : value;
  }
}

/** @param {string} text a time, which is converted to the format of `datetime-local` */
function localTime(text) {
  const date = new Date(text);
  if (Number.isNaN(date.getTime())) return '';
  return new Date(date.getTime() - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
}

onSubmit(form, async (field) => {
  const query = toQuery(field);
  setAddress(query ? `/logs?${query}` : '/logs');
  await load(false);
});
form.addEventListener('reset', (event) => {
  event.preventDefault();
  setAddress('/logs');
  fillForm();
  void load(false);
});
more.addEventListener('click', () => void busy(more, () => load(true)));

/** @type {View} */
export const logsView = {
  open(opened) {
    signal = opened;
    fillForm();
    return load(false);
  },
};
