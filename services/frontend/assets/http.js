// @ts-check
// Sends one request to the broker. Errors of the broker or the network are returned in the exchange, not thrown.

import { setting } from './dom.js';

/** @import {Exchange, Reply} from './types' */

/** The broker's origin; the page's own if an Ingress serves both under one origin. */
export const BROKER = setting('weft-broker') || location.origin;

const TIMEOUT_MS = 20_000;
/** Response headers to show. CORS exposes no others. */
const SHOWN = ['content-type', 'traceresponse', 'retry-after', 'ratelimit', 'ratelimit-policy'];

/**
 * @typedef {object} Request
 * @property {string} method
 * @property {string} path
 * @property {unknown} [body] sent as JSON
 * @property {string | null} [token] the access token
 * @property {boolean} [cookie] whether to send the session cookie, which only some paths need
 * @property {string} [key] the idempotency key
 * @property {AbortSignal} [signal]
 */

/**
 * @param {Request} request
 * @returns {Promise<Exchange>}
 */
export async function exchange({ method, path, body, token, cookie, key, signal }) {
  /** @type {Record<string, string>} */
  const headers = { accept: 'application/json' };
  if (body !== undefined) headers['content-type'] = 'application/json';
  if (key) headers['idempotency-key'] = key;
  const text = body === undefined ? null : JSON.stringify(body);
  const sent = token ? { ...headers, authorization: 'Bearer …' } : { ...headers };
  if (token) headers['authorization'] = `Bearer ${token}`;
  const [startedAt, started] = [new Date(), performance.now()];
  /** @type {Omit<Exchange, 'reply' | 'failure' | 'tookMs'>} */
  const asked = { method, path, sent, body: text, startedAt };
  const timeout = AbortSignal.timeout(TIMEOUT_MS);
  try {
    const response = await fetch(BROKER + path, {
      method,
      headers,
      body: text,
      credentials: cookie ? 'include' : 'omit',
      cache: 'no-store',
      redirect: 'error',
      signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
    });
    const reply = await read(response);
    return { ...asked, tookMs: performance.now() - started, reply, failure: null };
  } catch {
    const failure = signal?.aborted ? 'aborted' : timeout.aborted ? 'timeout' : 'offline';
    return { ...asked, tookMs: performance.now() - started, reply: null, failure };
  }
}

/**
 * @param {Response} response
 * @returns {Promise<Reply>}
 */
async function read(response) {
  const text = await response.text();
  /** @type {Record<string, string>} */
  const headers = {};
  for (const name of SHOWN) {
    const value = response.headers.get(name);
    if (value !== null) headers[name] = value;
  }
  const { status, statusText } = response;
  return { status, statusText, headers, text, json: parse(text), traceId: traceOf(headers['traceresponse']) };
}

/** @param {string} text */
function parse(text) {
  try {
    return /** @type {unknown} */ (JSON.parse(text));
  } catch {
    return undefined;
  }
}

/** @param {string | undefined} header `00-<trace id>-<span id>-<flags>` */
function traceOf(header) {
  return /^[0-9a-f]{2}-([0-9a-f]{32})-/.exec(header ?? '')?.[1] ?? null;
}
