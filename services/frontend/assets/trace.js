// @ts-check
// One trace as a waterfall. Spans arrive some seconds late, so the page polls until the first has arrived and then until no more
// arrive.

import { call, path } from './api.js';
import { announce, busy, byId, make, onSubmit, setting, tell } from './dom.js';
import { CallError, messageOf } from './errors.js';
import { badge, duration, pairs, timeElement } from './format.js';
import { navigate } from './navigation.js';
import { waterfall } from './spans.js';

/** @import {Trace, View} from './types' */
/** @import {Placed} from './spans.js' */

const WAIT_MS = 15_000;
const POLL_MS = 1_000;
/** Number of polls without new spans after which the trace counts as complete. */
const STILL = 4;
/** Number of colours, assigned to services in order of appearance. */
const HUES = 6;

const notice = byId('trace-notice', HTMLElement);
const result = byId('trace-result', HTMLElement);
const waiting = byId('trace-waiting', HTMLElement);
const whole = byId('trace-view', HTMLElement);
const spans = byId('trace-spans', HTMLOListElement);
const idField = byId('trace-id', HTMLInputElement);
const again = byId('trace-again', HTMLButtonElement);

let signal = new AbortController().signal;
/** @type {Set<string>} spans whose details are open */
let opened = new Set();

const idOfPage = () => /^\/trace\/([0-9a-f]{32})$/.exec(location.pathname)?.[1] ?? null;

/** @param {string} id */
async function follow(id) {
  const mine = signal;
  const until = performance.now() + WAIT_MS;
  result.setAttribute('aria-busy', 'true');
  try {
    let [count, still] = [0, 0];
    while (!mine.aborted && still < STILL) {
      const trace = await fetchTrace(id, mine);
      if (mine.aborted) return;
      still = trace && trace.spans.length === count ? still + 1 : 0;
      if (trace && still === 0) show(trace);
      count = trace?.spans.length ?? 0;
      waiting.hidden = count > 0;
      if (performance.now() > until) break;
      await pause(POLL_MS, mine);
    }
    if (count === 0 && !mine.aborted) {
      tell(notice, 'No spans found for this trace. They may not have arrived yet (reload later), or Jaeger has deleted them already.');
    }
  } catch (error) {
    tell(notice, messageOf(error));
  } finally {
    if (mine === signal) {
      waiting.hidden = true;
      result.setAttribute('aria-busy', 'false');
    }
  }
}

/**
 * @param {string} id
 * @param {AbortSignal} mine
 * @returns {Promise<Trace | null>} null if no spans have arrived
 */
async function fetchTrace(id, mine) {
  try {
    return await call('GET', path(['v1', 'traces', id]), { signal: mine });
  } catch (error) {
    if (error instanceof CallError && (error.status === 404 || error.aborted)) return null;
    throw error;
  }
}

/** @param {number} ms @param {AbortSignal} mine */
function pause(ms, mine) {
  return new Promise((done) => {
    const timer = setTimeout(done, ms);
    mine.addEventListener('abort', () => (clearTimeout(timer), done(undefined)), { once: true });
  });
}

/** @param {Trace} trace */
function show(trace) {
  const { rows, totalUs } = waterfall(trace.spans);
  const services = [...new Set(rows.map(({ span }) => span.service))];
  const errors = rows.filter(({ span }) => span.error).length;
  const focused = document.activeElement?.id ?? '';
  spans.replaceChildren(...rows.map((placed) => row(placed, services.indexOf(placed.span.service) % HUES)));
  const counted = `${rows.length} ${rows.length === 1 ? 'span' : 'spans'} of ${services.join(', ')} in ${duration(totalUs)}`;
  const failed = errors === 0 ? '' : `, ${errors} with an error`;
  byId('trace-summary', HTMLElement).replaceChildren(counted + failed);
  byId('trace-axis', HTMLElement).replaceChildren(
    ...[0, 0.25, 0.5, 0.75, 1].map((part) => make('span', {}, part === 0 ? '0' : duration(totalUs * part))),
  );
  whole.hidden = false;
  if (focused) document.getElementById(focused)?.focus();
  announce(counted + failed);
}

/**
 * @param {Placed} placed
 * @param {number} hue
 */
function row({ span, depth, left, width }, hue) {
  const id = `span-${span.span_id}`;
  const bar = make('span', { class: `bar-of hue-${hue}` });
  // By the object model, because the content security policy forbids style attributes.
  bar.style.left = `${(left * 100).toFixed(3)}%`;
  bar.style.width = `${Math.max(width * 100, 0.4).toFixed(3)}%`;
  const name = make(
    'span',
    { class: 'name' },
    make('span', { class: `dot hue-${hue}`, 'aria-hidden': 'true' }),
    make('span', { class: 'service' }, span.service),
    make('span', { class: 'operation' }, span.name),
    ...(span.error ? [badge('Error', 'bad')] : []),
  );
  name.style.setProperty('--depth', String(Math.min(depth, 12)));
  const toggle = make('button', { type: 'button', id, 'aria-expanded': 'false', 'aria-controls': `${id}-details` });
  toggle.append(
    name,
    make('span', { class: 'track', 'aria-hidden': 'true' }, bar),
    make('span', { class: 'took' }, duration(span.duration_us)),
  );
  const details = make('div', { id: `${id}-details`, class: 'details' });
  const open = (/** @type {boolean} */ yes) => {
    toggle.setAttribute('aria-expanded', String(yes));
    details.hidden = !yes;
    if (yes && !details.hasChildNodes()) details.append(detailsOf(span));
  };
  open(opened.has(span.span_id));
  toggle.addEventListener('click', () => {
    const yes = toggle.getAttribute('aria-expanded') === 'false';
    if (yes) opened.add(span.span_id);
    else opened.delete(span.span_id);
    open(yes);
  });
  return make('li', {}, toggle, details);
}

/** @param {Placed['span']} span */
function detailsOf(span) {
  /** @type {Array<[string, string | Node]>} */
  const known = [
    ['kind', span.kind],
    ['starts', timeElement(span.start_time)],
    ['after', duration(span.start_offset_us)],
    ['takes', duration(span.duration_us)],
    ['span', span.span_id],
    ['error', span.error ? 'yes' : 'no'],
  ];
  const attributes = Object.entries(span.attributes).map(([name, value]) => {
    const text = typeof value === 'string' ? value : JSON.stringify(value);
    return /** @type {[string, string]} */ ([name, text]);
  });
  return pairs([...known, ...attributes]);
}

/** @param {string} id */
function links(id) {
  byId('trace-logs', HTMLAnchorElement).href = `/logs?trace_id=${id}`;
  const jaeger = setting('weft-jaeger');
  const link = byId('trace-jaeger', HTMLAnchorElement);
  link.hidden = jaeger === '';
  if (jaeger) link.href = `${jaeger}/trace/${id}`;
}

onSubmit(byId('trace-form', HTMLFormElement), (field) => navigate(`/trace/${field('id').trim().toLowerCase()}`));
again.addEventListener('click', () => {
  const id = idOfPage();
  if (id) void busy(again, () => follow(id));
});

/** @type {View} */
export const traceView = {
  open(newSignal) {
    signal = newSignal;
    opened = new Set();
    const id = idOfPage();
    tell(notice, null);
    whole.hidden = true;
    waiting.hidden = id === null;
    spans.replaceChildren();
    idField.value = id ?? '';
    result.setAttribute('aria-busy', 'false');
    if (id === null) return undefined;
    links(id);
    return follow(id);
  },
};
