// @ts-check
// Calls on behalf of the person who is signed in.

import { CallError } from './errors.js';
import { exchange } from './http.js';
import { accessToken, refresh } from './session.js';

/** @import {Exchange} from './types' */
/** @import {Request} from './http.js' */

/**
 * Sends a request with the access token, and once more with the next one when the broker no longer takes this one.
 * @param {Request} request
 * @returns {Promise<Exchange>}
 */
export async function ask(request) {
  const token = accessToken();
  const first = await exchange({ ...request, token });
  if (first.reply?.status !== 401 || !token) return first;
  // Another call may have got the next one already.
  if (accessToken() === token) await refresh();
  const next = accessToken();
  return next && next !== token ? exchange({ ...request, token: next }) : first;
}

/**
 * The answer's JSON.
 * @template T
 * @param {string} method
 * @param {string} path
 * @param {{ body?: unknown, signal?: AbortSignal }} [options]
 * @returns {Promise<T>}
 * @throws {CallError} when it is no success
 */
export async function call(method, path, options = {}) {
  const done = await ask({ method, path, ...options });
  const { reply } = done;
  if (!reply || reply.status < 200 || reply.status >= 300) throw new CallError(done);
  return /** @type {T} */ (reply.json);
}

/**
 * A path with its parts escaped, and a query of what is not empty.
 * @param {string[]} parts
 * @param {Record<string, string | number | null | undefined>} [query]
 */
export function path(parts, query = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== '' && value !== null && value !== undefined);
  const search = new URLSearchParams(given.map(([name, value]) => [name, String(value)])).toString();
  return '/' + parts.map(encodeURIComponent).join('/') + (search && `?${search}`);
}

/** A new key under which a request may be repeated. `randomUUID` is missing where the page came by plain http. */
export function newKey() {
  const hex = [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, '0'));
  return `console-${hex.join('')}`;
}
