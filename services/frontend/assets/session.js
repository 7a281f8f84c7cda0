// @ts-check
// The session. The access token is only in this module's memory. The refresh token is in a cookie that scripts can't read. Tabs share
// the cookie and refresh independently: the broker accepts a refresh token again when its reply was lost or another tab was faster.

import { CallError } from './errors.js';
import { exchange } from './http.js';

/** @import {Exchange, Tokens, User} from './types' */

/** Time before expiry at which the access token is refreshed; a short-lived one is refreshed after 80 % of its lifetime. */
const AHEAD_MS = 30_000;

/** @type {User | null} */
let user = null;
let token = '';
let expiresAt = 0;
let timer = 0;
/** @type {Promise<Exchange> | null} */
let refreshing = null;
/** @type {Array<(user: User | null) => void>} */
const listeners = [];
const tabs = new BroadcastChannel('weft-session');

/** @returns {User | null} */
export const currentUser = () => user;
/** @returns {string | null} */
export const accessToken = () => token || null;

/** @param {(user: User | null) => void} listener called at each sign-in and sign-out */
export function onChange(listener) {
  listeners.push(listener);
}

/** Checks whether the browser has a session, and listens to other tabs. */
export async function start() {
  tabs.addEventListener('message', ({ data }) => {
    if (data === 'out') forget();
    else if (data === 'in') void refresh();
  });
  // Browsers throttle timers of hidden tabs, so a tab refreshes when it becomes visible.
  document.addEventListener('visibilitychange', () => {
    if (!document.hidden && user && Date.now() > expiresAt - AHEAD_MS) void refresh();
  });
  return refresh();
}

/**
 * @param {string} email
 * @param {string} password
 */
export async function signIn(email, password) {
  const body = { action: 'auth', auth: { email, password } };
  const done = await exchange({ method: 'POST', path: '/handle', body, cookie: true });
  const data = /** @type {{ data?: User & Tokens } | undefined} */ (done.reply?.json)?.data;
  if (done.reply?.status !== 202 || !data) throw new CallError(done);
  const { access_token, token_type, expires_in, ...who } = data;
  adopt({ access_token, token_type, expires_in }, who);
  tabs.postMessage('in');
}

/** @param {boolean} everywhere whether to end all sessions of the user */
export async function signOut(everywhere) {
  // Ending all sessions requires a valid access token, and this one may have expired while the machine slept.
  if (everywhere && Date.now() > expiresAt - AHEAD_MS / 2) await refresh();
  const request = { method: 'POST', path: '/logout', body: { everywhere }, token, cookie: true };
  const done = await exchange(request);
  const status = done.reply?.status ?? 0;
  // 401 means that this session has already ended. Other sessions may still be open.
  const ended = status === 401 && !everywhere;
  if (!ended && (status < 200 || status >= 300)) throw new CallError(done);
  forget();
  tabs.postMessage('out');
}

/** Drops user and token without telling the broker. */
export function forget() {
  clearTimeout(timer);
  token = '';
  if (user) {
    user = null;
    for (const listener of listeners) listener(null);
  }
}

/** Refreshes the access token. Concurrent callers share one request. */
export function refresh() {
  refreshing ??= requestTokens().finally(() => {
    refreshing = null;
  });
  return refreshing;
}

async function requestTokens() {
  const done = await exchange({ method: 'POST', path: '/v1/session/refresh', cookie: true });
  const { reply } = done;
  if (reply?.status === 200) {
    const { user: who, ...tokens } = /** @type {Tokens & { user: User }} */ (reply.json);
    adopt(tokens, who);
  } else if (reply?.status === 401) {
    forget();
  } else if (user) {
    timer = window.setTimeout(() => void refresh(), 5_000);
  }
  return done;
}

/**
 * @param {Tokens} tokens
 * @param {User} who
 */
function adopt({ access_token, expires_in }, who) {
  const lifeMs = expires_in * 1000;
  token = access_token;
  expiresAt = Date.now() + lifeMs;
  clearTimeout(timer);
  timer = window.setTimeout(() => void refresh(), Math.max(lifeMs - AHEAD_MS, lifeMs * 0.8));
  const changed = user?.id !== who.id || user.role !== who.role;
  user = who;
  if (changed) for (const listener of listeners) listener(user);
}
