// @ts-check
// Users, for admins: list, create, change the role, deactivate and reactivate, start a password reset, delete.

import { call, path } from './api.js';
import { confirmed } from './confirm.js';
import { announce, busy, button, byId, make, onSubmit, tell } from './dom.js';
import { messageOf } from './errors.js';
import { badge } from './format.js';
import { ROLES } from './roles.js';
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
  if (user.id !== currentUser()?.id) entry.append(make('div', { class: 'row' }, ...actions(user, entry)));
  return entry;
}

/**
 * @param {User} user
 * @param {HTMLLIElement} entry
 */
function actions(user, entry) {
  const act = (/** @type {string} */ label, /** @type {string} */ kind, /** @type {() => Promise<void>} */ run) =>
    button(label, { class: kind, 'aria-label': `${label} ${user.email}` }, run);
  const remove = act('Delete', 'quiet danger', () => erase(user, entry));
  if (!user.active) return [act('Reactivate', 'quiet', () => reactivate(user, entry)), remove];
  return [
    roleOf(user, entry),
    act('Send reset link to', 'quiet', () => startReset(user)),
    act('Deactivate', 'quiet danger', () => deactivate(user, entry)),
    remove,
  ];
}

/**
 * @param {User} user
 * @param {HTMLLIElement} entry
 */
function roleOf(user, entry) {
  const options = ROLES.map((role) => make('option', role === user.role ? { selected: '' } : {}, role));
  const select = make('select', { 'aria-label': `Role of ${user.email}` }, ...options);
  select.addEventListener('change', () => void busy(select, async () => {
    const body = { role: select.value };
    const done = await changed(entry, `${user.email} has the role ${select.value}.`, () => call('PATCH', pathOf(user), { body }));
    if (!done) select.value = user.role;
  }));
  return select;
}

/**
 * @param {User} user
 * @param {...string} more
 */
const pathOf = (user, ...more) => path(['v1', 'users', user.id, ...more]);

/**
 * Runs a change and shows the changed user. Resolves to whether the change succeeded.
 * @param {HTMLLIElement} entry
 * @param {string} done
 * @param {() => Promise<User>} run
 */
async function changed(entry, done, run) {
  try {
    entry.replaceWith(item(await run()));
    say(done);
    return true;
  } catch (error) {
    tell(notice, messageOf(error));
    return false;
  }
}

/** @param {string} done */
function say(done) {
  byId('users-list-title', HTMLElement).focus();
  tell(notice, done, 'done');
  announce(done);
}

/**
 * @param {User} user
 * @param {HTMLLIElement} entry
 */
async function deactivate(user, entry) {
  const text = `${user.email} will be signed out everywhere and can no longer sign in.`;
  if (!(await confirmed({ title: 'Deactivate this user?', text, action: 'Deactivate' }))) return;
  await changed(entry, `${user.email} is deactivated.`, () => call('POST', pathOf(user, 'deactivate')));
}

/**
 * @param {User} user
 * @param {HTMLLIElement} entry
 */
async function reactivate(user, entry) {
  await changed(entry, `${user.email} may sign in again.`, () => call('POST', pathOf(user, 'reactivate')));
}

/** @param {User} user */
async function startReset(user) {
  try {
    await call('POST', pathOf(user, 'password-reset'));
    say(`${user.email} gets a mail with a link to set a new password. The link works once, for 30 minutes.`);
  } catch (error) {
    tell(notice, messageOf(error));
  }
}

/**
 * @param {User} user
 * @param {HTMLLIElement} entry
 */
async function erase(user, entry) {
  const text = `The account and all sessions of ${user.email} will be deleted permanently. Log entries stay until their retention ends.`;
  if (!(await confirmed({ title: 'Delete this user?', text, action: 'Delete' }))) return;
  try {
    await call('DELETE', pathOf(user));
    entry.remove();
    say(`${user.email} is deleted.`);
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
