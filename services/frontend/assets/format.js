// @ts-check
// Formats values.

import { make } from './dom.js';
import { may } from './roles.js';
import { currentUser } from './session.js';

/** @param {number} value @param {number} width */
const pad = (value, width = 2) => String(value).padStart(width, '0');

/**
 * Time of day in the local time zone, with milliseconds.
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
 * A `<time>` element for a time from the broker; the text itself if it is not a valid time.
 * @param {string | null | undefined} text
 * @returns {HTMLElement | string}
 */
export function timeElement(text) {
  const date = new Date(text ?? '');
  if (Number.isNaN(date.getTime())) return text || 'unknown';
  return make('time', { datetime: date.toISOString(), title: date.toISOString() }, fullTime(date));
}

/**
 * Formats microseconds in a suitable unit.
 * @param {number} us
 */
export function duration(us) {
  if (us < 1_000) return `${Math.round(us)} µs`;
  if (us < 1_000_000) return `${(us / 1_000).toPrecision(3)} ms`;
  return `${(us / 1_000_000).toPrecision(3)} s`;
}

/**
 * Indents JSON; returns other text unchanged.
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
 * A list of names and values.
 * @param {Array<[string, string | Node]>} pairs
 */
export function pairs(pairs) {
  return make('dl', { class: 'pairs' }, ...pairs.flatMap(([name, value]) => [make('dt', {}, name), make('dd', {}, value)]));
}

/**
 * A label with a colour and a symbol, so that the meaning does not depend on colour alone.
 * @param {string} text
 * @param {'good' | 'bad' | 'warn' | 'plain'} kind
 */
export function badge(text, kind) {
  return make('span', { class: `badge ${kind}` }, text);
}

/**
 * A link to a trace; only its id for users who may not see traces.
 * @param {string} id
 * @param {...(Node | string)} label default: the start of the id
 */
export function traceLink(id, ...label) {
  const short = [make('span', { class: 'unseen' }, 'Trace '), id.slice(0, 8)];
  if (currentUser() !== null && !may('viewer')) return make('span', { class: 'mono', title: id }, ...(label.length ? label : short));
  return make('a', { href: `/trace/${id}`, class: 'mono', title: id }, ...(label.length ? label : short));
}
