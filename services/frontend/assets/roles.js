// @ts-check
// Roles. The broker enforces them; the console only hides what the broker would refuse.

import { currentUser } from './session.js';

/** @import {Role} from './types' */

/** @type {Role[]} each includes the rights of those before it */
export const ROLES = ['user', 'viewer', 'admin'];

/** @param {Role} least whether the signed-in user has at least this role */
export function may(least) {
  const user = currentUser();
  return user !== null && ROLES.indexOf(user.role) >= ROLES.indexOf(least);
}

/** @param {Role} least the roles that suffice, as text */
export const enough = (least) => ROLES.slice(ROLES.indexOf(least)).join(' or ');
