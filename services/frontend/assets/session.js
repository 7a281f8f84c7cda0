// @ts-check
// Who is signed in. The access token is in this module's memory and nowhere else; the refresh token is in a cookie
// that no script can read. Tabs share it and refresh whenever they like: the broker accepts a refresh token again when its
// reply was lost or another tab was faster.

import { CallError } from './errors.js';
import { exchange } from './http.js';

/** @import {Exchange, Tokens, User} from './types' */

/** Refreshed this long before its end, or after four fifths of a life that is shorter than that allows. */
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

/** @param {(user: User | null) => void} listener told at each sign-in and sign-out */
export function onChange(listener) {
  listeners.push(listener);
}

/** Finds out whether the browser has a session, and follows what other tabs do. */
export async function start() {
  tabs.addEventListener('message', ({ data }) => {
    if (data === 'out') forget();
    else if (data === 'in') void refresh();
  });
  // Timers sleep in a tab at the back: it asks when it comes to the front.
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

/** @param {boolean} everywhere each session of this user, not only this one */
export async function signOut(everywhere) {
  // All sessions are ended only by an access token, and this one's may have run out while the machine slept.
  if (everywhere && Date.now() > expiresAt - AHEAD_MS / 2) await refresh();
  const request = { method: 'POST', path: '/logout', body: { everywhere }, token, cookie: true };
  const done = await exchange(request);
  const status = done.reply?.status ?? 0;
  // 401: this session has ended already, as it was to. Whether others are open is then unknown.
  const ended = status === 401 && !everywhere;
  if (!ended && (status < 200 || status >= 300)) throw new CallError(done);
  forget();
  tabs.postMessage('out');
}

/** Drops what is known; the broker is not told. */
export function forget() {
  clearTimeout(timer);
  token = '';
  if (user) {
    user = null;
    for (const listener of listeners) listener(null);
  }
}

/** Asks for the next access token; callers at the same time share one request. */
export function refresh() {
  refreshing ??= askForNext().finally(() => {
    refreshing = null;
  });
  return refreshing;
}

async function askForNext() {
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
