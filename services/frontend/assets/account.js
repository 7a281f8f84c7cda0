// @ts-check
// The signed-in user's sessions and password. For admins also the list of users.

import { call, path } from './api.js';
import { confirmed } from './confirm.js';
import { announce, busy, button, byId, make, onSubmit, tell } from './dom.js';
import { messageOf } from './errors.js';
import { badge, timeElement } from './format.js';
import { may } from './roles.js';
import { currentUser, signOut } from './session.js';
import { loadUsers } from './users.js';

/** @import {Page, Session, View} from './types' */

const notice = byId('sessions-notice', HTMLElement);
const list = byId('sessions-list', HTMLUListElement);
const passwordNotice = byId('password-notice', HTMLElement);
const passwordForm = byId('password-form', HTMLFormElement);
const everywhere = byId('sign-out-everywhere', HTMLButtonElement);

let signal = new AbortController().signal;

async function loadSessions() {
  list.setAttribute('aria-busy', 'true');
  try {
    const page = /** @type {Page<Session>} */ (await call('GET', '/v1/sessions', { signal }));
    list.replaceChildren(...page.items.map(item));
  } catch (error) {
    tell(notice, messageOf(error));
  } finally {
    list.setAttribute('aria-busy', 'false');
  }
}

/** @param {Session} session */
function item(session) {
  const where = `${session.client_address || 'unknown address'}`;
  const agent = make('p', { class: 'small' }, session.user_agent || 'unknown browser');
  const head = make('div', { class: 'head' }, make('h3', {}, where), ...(session.current ? [badge('This session', 'good')] : []));
  const times = make('p', { class: 'muted small' }, 'since ', timeElement(session.created_at), ', last used ', timeElement(session.last_used_at));
  const end = button('Sign out', { class: 'quiet', 'aria-label': `Sign out the session at ${where}` }, () => endSession(session));
  return make('li', {}, head, agent, times, end);
}

/** @param {Session} session */
async function endSession(session) {
  try {
    if (session.current) return await signOut(false);
    await call('DELETE', path(['v1', 'sessions', session.id]));
    tell(notice, 'The session is signed out.', 'done');
    byId('sessions-title', HTMLElement).focus();
    await loadSessions();
  } catch (error) {
    tell(notice, messageOf(error));
  }
}

everywhere.addEventListener('click', () => void busy(everywhere, async () => {
  const text = 'You will have to sign in again in every browser and on every device, including this one.';
  if (!(await confirmed({ title: 'Sign out everywhere?', text, action: 'Sign out everywhere' }))) return;
  try {
    await signOut(true);
  } catch (error) {
    tell(notice, messageOf(error));
  }
}));

onSubmit(passwordForm, async (field) => {
  tell(passwordNotice, null);
  const body = { current_password: field('current'), new_password: field('new') };
  try {
    await call('POST', '/v1/users/me/password', { body });
    passwordForm.reset();
    tell(passwordNotice, 'Password changed.', 'done');
    announce('Password changed.');
    await loadSessions();
  } catch (error) {
    tell(passwordNotice, messageOf(error));
  }
});

/** @type {View} */
export const accountView = {
  async open(opened) {
    signal = opened;
    const user = currentUser();
    if (!user) return;
    const name = `${user.first_name} ${user.last_name}`.trim();
    byId('account-who', HTMLElement).textContent = `${name ? `${name}, ` : ''}${user.email}, ${user.role}`;
    byId('password-username', HTMLInputElement).value = user.email;
    tell(notice, null);
    tell(passwordNotice, null);
    await Promise.all([loadSessions(), may('admin') ? loadUsers(opened) : undefined]);
  },
};
