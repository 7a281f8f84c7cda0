// @ts-check
// Entry point: shows views, handles sign-in and manages the keyboard focus.

import { accountView } from './account.js';
import { deadLettersView } from './dead-letters.js';
import { announce, busy, byId, onSubmit, tell } from './dom.js';
import { explain, messageOf } from './errors.js';
import { logsView } from './logs.js';
import { navigate, onNavigate } from './navigation.js';
import { forgotView, resetView } from './passwords.js';
import { enough, may } from './roles.js';
import { sendView } from './send.js';
import { currentUser, onChange, signIn, signOut, start } from './session.js';
import { traceView } from './trace.js';

/** @import {Role, View} from './types' */

/**
 * `least`: the role that a view requires; null if it requires no sign-in. `alone`: the sign-in form is not shown with it.
 * @type {Record<string, { title: string, view: View, least: Role | null, alone?: boolean }>}
 */
const VIEWS = {
  send: { title: 'Send', view: sendView, least: null },
  logs: { title: 'Logs', view: logsView, least: 'viewer' },
  trace: { title: 'Trace', view: traceView, least: 'viewer' },
  'dead-letters': { title: 'Dead letters', view: deadLettersView, least: 'viewer' },
  account: { title: 'Account', view: accountView, least: 'user' },
  'forgot-password': { title: 'Forgot your password?', view: forgotView, least: null, alone: true },
  'reset-password': { title: 'Set a new password', view: resetView, least: null, alone: true },
};

const signInSection = byId('sign-in', HTMLElement);
const signInNotice = byId('sign-in-notice', HTMLElement);
const denied = byId('denied', HTMLElement);
const pageNotice = byId('page-notice', HTMLElement);

let ready = false;
let viewAbort = new AbortController();

/** @param {string} pathname */
function nameOf(pathname) {
  const [, first = '', second = ''] = pathname.split('/');
  // Views below `account` have the name of their second segment.
  const name = first === 'account' && second ? second : first || 'send';
  return name in VIEWS ? name : null;
}

/** Shows the view of the current address, or the sign-in form. */
function show() {
  const name = nameOf(location.pathname) ?? 'send';
  const shown = VIEWS[name];
  if (!shown) return;
  viewAbort.abort();
  viewAbort = new AbortController();
  const user = currentUser();
  const allowed = shown.least === null || may(shown.least);
  const asksToSignIn = ready && user === null && !shown.alone;
  for (const id of Object.keys(VIEWS)) byId(id, HTMLElement).hidden = id !== name || (!allowed && ready);
  signInSection.hidden = !asksToSignIn;
  denied.hidden = user === null || allowed;
  if (user && shown.least && !allowed) {
    byId('denied-title', HTMLElement).textContent = shown.title;
    byId('denied-why', HTMLElement).textContent =
      `This page requires the role ${enough(shown.least)}. Your role is ${user.role}. An admin can change it.`;
  }
  document.title = `${asksToSignIn && !allowed ? 'Sign in' : shown.title} · Weft`;
  for (const link of document.querySelectorAll('nav a')) {
    if (link.getAttribute('data-view') === name) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  if (allowed) void shown.view.open(viewAbort.signal);
}

/** Moves the focus to the first visible heading, because no page load does. */
function focusTitle() {
  const headings = [...document.querySelectorAll('main h1')];
  const first = headings.find((heading) => heading instanceof HTMLElement && heading.offsetParent !== null);
  if (first instanceof HTMLElement) first.focus();
}

/** Shows the signed-in user, and hides elements that their role may not see. Elements with `data-open` are also shown without sign-in. */
function showUser() {
  const user = currentUser();
  byId('who', HTMLElement).hidden = user === null;
  byId('who-email', HTMLElement).textContent = user?.email ?? '';
  for (const part of document.querySelectorAll('[data-role]')) {
    if (!(part instanceof HTMLElement)) continue;
    const least = /** @type {Role} */ (part.dataset['role']);
    part.hidden = user === null ? !('open' in part.dataset) : !may(least);
  }
}

document.addEventListener('click', (event) => {
  const link = event.target instanceof Element ? event.target.closest('a') : null;
  const plain = event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey && !event.altKey;
  if (!link || !plain || event.defaultPrevented || link.target || link.origin !== location.origin || link.hash) return;
  if (nameOf(link.pathname) === null) return;
  event.preventDefault();
  navigate(link.pathname + link.search);
});
onNavigate(() => {
  show();
  window.scrollTo(0, 0);
  focusTitle();
});
window.addEventListener('popstate', () => {
  show();
  focusTitle();
});

onSubmit(byId('sign-in-form', HTMLFormElement), async (field) => {
  tell(signInNotice, null);
  try {
    await signIn(field('email').trim(), field('password'));
  } catch (error) {
    tell(signInNotice, messageOf(error));
    byId('sign-in-password', HTMLInputElement).focus();
  }
});

const out = byId('sign-out', HTMLButtonElement);
out.addEventListener('click', () => void busy(out, async () => {
  tell(pageNotice, null);
  try {
    await signOut(false);
  } catch (error) {
    tell(pageNotice, messageOf(error));
  }
}));

onChange((user) => {
  if (!ready) return;
  byId('sign-in-form', HTMLFormElement).reset();
  tell(pageNotice, null);
  showUser();
  show();
  focusTitle();
  announce(user ? `Signed in as ${user.email}` : 'Signed out');
});

async function begin() {
  const starting = byId('starting', HTMLElement);
  starting.hidden = false;
  const found = await start();
  starting.hidden = true;
  ready = true;
  if (found.reply?.status !== 200 && found.reply?.status !== 401) tell(pageNotice, explain(found));
  showUser();
  show();
}

void begin();
