// @ts-check
// Values as people read them.

import { make } from './dom.js';
import { may } from './roles.js';
import { currentUser } from './session.js';

/** @param {number} value @param {number} width */
const pad = (value, width = 2) => String(value).padStart(width, '0');

/**
 * In the reader's own time zone, to the millisecond.
 * @param {Date} date
 */
export function clockTime(date) {
  return `${pad(date.getHours())}:${pad(date.getMinutes())}:${pad(date.getSeconds())}.${pad(date.getMilliseconds(), 3)}`;
}

/** @param {Date} date */
export function fullTime(date) {
  return `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())} ${clockTime(date)}`;
}

/**
 * A `<time>` for a time as the broker writes it; its own text where it is none.
 * @param {string | null | undefined} text
 * @returns {HTMLElement | string}
 */
export function timeElement(text) {
  const date = new Date(text ?? '');
  if (Number.isNaN(date.getTime())) return text || 'unknown';
  return make('time', { datetime: date.toISOString(), title: date.toISOString() }, fullTime(date));
}

/**
 * Microseconds in a unit that fits.
 * @param {number} us
 */
export function duration(us) {
  if (us < 1_000) return `${Math.round(us)} µs`;
  if (us < 1_000_000) return `${(us / 1_000).toPrecision(3)} ms`;
  return `${(us / 1_000_000).toPrecision(3)} s`;
}

/**
 * JSON with line breaks; any other text as it is.
 * @param {string} text
 */
export function pretty(text) {
  try {
    const value = /** @type {unknown} */ (JSON.parse(text));
    return typeof value === 'object' && value !== null ? JSON.stringify(value, null, 2) : text;
  } catch {
    return text;
  }
}

/**
 * Names and values, one pair a line.
 * @param {Array<[string, string | Node]>} pairs
 */
export function pairs(pairs) {
  return make('dl', { class: 'pairs' }, ...pairs.flatMap(([name, value]) => [make('dt', {}, name), make('dd', {}, value)]));
}

/**
 * A word with a colour and a sign of its own: neither colour nor shape alone carries it.
 * @param {string} text
 * @param {'good' | 'bad' | 'warn' | 'plain'} kind
 */
export function badge(text, kind) {
  return make('span', { class: `badge ${kind}` }, text);
}

/**
 * A link to a trace; only its id for who may not see traces.
 * @param {string} id
 * @param {...(Node | string)} label the id's beginning, unless another is given
 */
export function traceLink(id, ...label) {
  const short = [make('span', { class: 'unseen' }, 'Trace '), id.slice(0, 8)];
  if (currentUser() !== null && !may('viewer')) return make('span', { class: 'mono', title: id }, ...(label.length ? label : short));
  return make('a', { href: `/trace/${id}`, class: 'mono', title: id }, ...(label.length ? label : short));
}
