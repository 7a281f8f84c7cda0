// @ts-check
// Puts the console together: which view is in front, who is signed in, and where the keyboard is.

import { accountView } from './account.js';
import { deadLettersView } from './dead-letters.js';
import { announce, busy, byId, onSubmit, tell } from './dom.js';
import { explain, messageOf } from './errors.js';
import { logsView } from './logs.js';
import { navigate, onNavigate } from './navigation.js';
import { sendView } from './send.js';
import { currentUser, onChange, signIn, signOut, start } from './session.js';
import { traceView } from './trace.js';

/** @import {View} from './types' */

/** @type {Record<string, { title: string, view: View, open: boolean }>} `open`: for those who are not signed in, too */
const VIEWS = {
  send: { title: 'Send', view: sendView, open: true },
  logs: { title: 'Logs', view: logsView, open: false },
  trace: { title: 'Trace', view: traceView, open: false },
  'dead-letters': { title: 'Dead letters', view: deadLettersView, open: false },
  account: { title: 'Account', view: accountView, open: false },
};

const signInSection = byId('sign-in', HTMLElement);
const signInNotice = byId('sign-in-notice', HTMLElement);
const pageNotice = byId('page-notice', HTMLElement);

let ready = false;
let inFront = new AbortController();

/** @param {string} pathname */
function nameOf(pathname) {
  const first = pathname.split('/')[1] || 'send';
  return first in VIEWS ? first : null;
}

/** Shows the view of the present address, or asks to sign in. */
function show() {
  const name = nameOf(location.pathname) ?? 'send';
  const shown = VIEWS[name];
  if (!shown) return;
  inFront.abort();
  inFront = new AbortController();
  const allowed = shown.open || currentUser() !== null;
  const asksToSignIn = ready && currentUser() === null;
  for (const id of Object.keys(VIEWS)) byId(id, HTMLElement).hidden = id !== name || (!allowed && ready);
  signInSection.hidden = !asksToSignIn;
  document.title = `${asksToSignIn && !allowed ? 'Sign in' : shown.title} · Weft`;
  for (const link of document.querySelectorAll('nav a')) {
    if (link.getAttribute('data-view') === name) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  if (allowed) void shown.view.open(inFront.signal);
}

/** The heading of what is in front gets the focus, as a new page would begin there. */
function focusTitle() {
  const headings = [...document.querySelectorAll('main h1')];
  const first = headings.find((heading) => heading instanceof HTMLElement && heading.offsetParent !== null);
  if (first instanceof HTMLElement) first.focus();
}

/** Shows who is signed in, and what only admins have. */
function person() {
  const user = currentUser();
  byId('who', HTMLElement).hidden = user === null;
  byId('who-email', HTMLElement).textContent = user?.email ?? '';
  for (const part of document.querySelectorAll('[data-role="admin"]')) {
    if (part instanceof HTMLElement) part.hidden = user?.role !== 'admin';
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
  person();
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
  person();
  show();
}

void begin();
