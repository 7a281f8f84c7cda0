// @ts-check
// What admins do with users: list, create, deactivate.

import { call, path } from './api.js';
import { confirmed } from './confirm.js';
import { announce, busy, button, byId, make, onSubmit, tell } from './dom.js';
import { messageOf } from './errors.js';
import { badge } from './format.js';
import { currentUser } from './session.js';

/** @import {Page, User} from './types' */

const PAGE = 50;

const notice = byId('users-notice', HTMLElement);
const list = byId('users-list', HTMLUListElement);
const more = byId('users-more', HTMLButtonElement);
const form = byId('new-user-form', HTMLFormElement);
const formNotice = byId('new-user-notice', HTMLElement);

/** @type {string | null} */
let cursor = null;
let signal = new AbortController().signal;

/** @param {AbortSignal} opened */
export function loadUsers(opened) {
  signal = opened;
  tell(notice, null);
  tell(formNotice, null);
  return load(false);
}

/** @param {boolean} append */
async function load(append) {
  list.setAttribute('aria-busy', 'true');
  try {
    const where = path(['v1', 'users'], { limit: PAGE, cursor: append ? cursor : null });
    const page = /** @type {Page<User>} */ (await call('GET', where, { signal }));
    if (!append) list.replaceChildren();
    list.append(...page.items.map(item));
    cursor = page.next_cursor ?? null;
    more.hidden = cursor === null;
  } catch (error) {
    tell(notice, messageOf(error));
  } finally {
    list.setAttribute('aria-busy', 'false');
  }
}

/**
 * @param {User} user
 * @returns {HTMLLIElement}
 */
function item(user) {
  const badges = [badge(user.role, 'plain'), ...(user.active ? [] : [badge('Inactive', 'warn')])];
  const name = `${user.first_name} ${user.last_name}`.trim();
  const entry = make('li', {}, make('div', { class: 'head' }, make('h4', {}, user.email), make('span', { class: 'row' }, ...badges)));
  if (name) entry.append(make('p', { class: 'small' }, name));
  if (user.active && user.id !== currentUser()?.id) {
    entry.append(button('Deactivate', { class: 'quiet danger', 'aria-label': `Deactivate ${user.email}` }, () => deactivate(user, entry)));
  }
  return entry;
}

/**
 * @param {User} user
 * @param {HTMLLIElement} entry
 */
async function deactivate(user, entry) {
  const text = `${user.email} is signed out everywhere and can’t sign in any more.`;
  if (!(await confirmed({ title: 'Deactivate this user?', text, action: 'Deactivate' }))) return;
  try {
    const now = /** @type {User} */ (await call('POST', path(['v1', 'users', user.id, 'deactivate'])));
    entry.replaceWith(item(now));
    byId('users-list-title', HTMLElement).focus();
    tell(notice, `${user.email} is deactivated.`, 'done');
    announce(`${user.email} is deactivated`);
  } catch (error) {
    tell(notice, messageOf(error));
  }
}

onSubmit(form, async (field) => {
  tell(formNotice, null);
  const names = ['email', 'first_name', 'last_name', 'password', 'role'];
  const body = Object.fromEntries(names.map((name) => [name, field(name)]));
  try {
    const made = /** @type {User} */ (await call('POST', '/v1/users', { body }));
    form.reset();
    tell(formNotice, `${made.email} is created.`, 'done');
    await load(false);
  } catch (error) {
    tell(formNotice, messageOf(error));
  }
});
more.addEventListener('click', () => void busy(more, () => load(true)));
