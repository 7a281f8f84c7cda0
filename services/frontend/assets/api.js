// @ts-check
// Calls to the broker as the signed-in user.

import { CallError } from './errors.js';
import { exchange } from './http.js';
import { accessToken, refresh } from './session.js';

/** @import {Exchange} from './types' */
/** @import {Request} from './http.js' */

/**
 * Sends a request with the access token. After a 401, refreshes the token and sends the request once more.
 * @param {Request} request
 * @returns {Promise<Exchange>}
 */
export async function ask(request) {
  const token = accessToken();
  const first = await exchange({ ...request, token });
  if (first.reply?.status !== 401 || !token) return first;
  // Another call may have refreshed the token already.
  if (accessToken() === token) await refresh();
  const next = accessToken();
  return next && next !== token ? exchange({ ...request, token: next }) : first;
}

/**
 * Sends a request and returns the JSON of the response.
 * @template T
 * @param {string} method
 * @param {string} path
 * @param {{ body?: unknown, signal?: AbortSignal }} [options]
 * @returns {Promise<T>}
 * @throws {CallError} when the status is not 2xx
 */
export async function call(method, path, options = {}) {
  const done = await ask({ method, path, ...options });
  const { reply } = done;
  if (!reply || reply.status < 200 || reply.status >= 300) throw new CallError(done);
  return /** @type {T} */ (reply.json);
}

/**
 * Builds a path from escaped segments, with a query of the non-empty parameters.
 * @param {string[]} parts
 * @param {Record<string, string | number | null | undefined>} [query]
 */
export function path(parts, query = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== '' && value !== null && value !== undefined);
  const search = new URLSearchParams(given.map(([name, value]) => [name, String(value)])).toString();
  return '/' + parts.map(encodeURIComponent).join('/') + (search && `?${search}`);
}

/** Creates an idempotency key. `randomUUID` does not exist on pages loaded over plain http. */
export function newKey() {
  const hex = [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, '0'));
  return `console-${hex.join('')}`;
}
