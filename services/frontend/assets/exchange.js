// @ts-check
// Renders a request and its response.

import { button, make } from './dom.js';
import { explain } from './errors.js';
import { BROKER } from './http.js';
import { badge, clockTime, pretty, traceLink } from './format.js';

/** @import {Exchange} from './types' */

/** @param {Exchange} exchange */
const succeeded = ({ reply }) => reply !== null && reply.status < 400;

/** @param {Exchange} exchange */
export function outcome({ reply, failure }) {
  if (reply) return `${reply.status} ${reply.statusText}`.trim();
  return failure === 'timeout' ? 'Timed out' : 'No response';
}

/**
 * @param {Exchange} exchange
 * @param {() => Promise<void>} again sends the request again, with the same idempotency key
 * @returns {Node[]}
 */
export function render(exchange, again) {
  const { method, path, reply, tookMs } = exchange;
  const good = succeeded(exchange);
  const summary = make(
    'p',
    { class: 'row summary' },
    badge(outcome(exchange), good ? 'good' : 'bad'),
    make('code', {}, `${method} ${path}`),
    make('span', { class: 'muted' }, `${Math.round(tookMs)} ms`),
  );
  /** @type {Node[]} */
  const parts = [summary];
  if (!good) {
    parts.push(make('p', { class: 'notice' }, explain(exchange)), make('p', {}, button('Send again', {}, again)));
  }
  if (reply?.traceId) {
    const link = traceLink(reply.traceId, reply.traceId);
    parts.push(make('p', { class: 'trace-of' }, 'Trace ', link));
  }
  parts.push(make('h3', {}, 'Request'), block(sentText(exchange)));
  if (reply) parts.push(make('h3', {}, 'Response'), block(receivedText(exchange)));
  return parts;
}

/** @param {string} text */
const block = (text) => make('pre', {}, make('code', {}, text));

/** @param {Record<string, string>} headers */
const lines = (headers) => Object.entries(headers).map(([name, value]) => `${name}: ${value}\n`).join('');

/** @param {Exchange} exchange */
function sentText({ method, path, sent, body }) {
  return `${method} ${BROKER}${path}\n${lines(sent)}${body === null ? '' : `\n${pretty(body)}`}`;
}

/** @param {Exchange} exchange */
function receivedText(exchange) {
  const { headers, text } = exchange.reply ?? { headers: {}, text: '' };
  return `${outcome(exchange)}\n${lines(headers)}${text && `\n${pretty(text)}`}`;
}

/**
 * @param {Exchange} exchange
 * @param {() => void} show
 */
export function renderLine(exchange, show) {
  const line = button('', { class: 'line' }, show);
  line.append(
    make('span', { class: 'muted' }, clockTime(exchange.startedAt)),
    make('code', {}, `${exchange.method} ${exchange.path}`),
    badge(outcome(exchange), succeeded(exchange) ? 'good' : 'bad'),
  );
  return make('li', {}, line);
}
