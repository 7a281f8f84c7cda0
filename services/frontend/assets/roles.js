// @ts-check
// What each role may see. The broker decides; the console only hides what the broker would refuse.

import { currentUser } from './session.js';

/** @import {Role} from './types' */

/** @type {Role[]} each may do what those before it may */
export const ROLES = ['user', 'viewer', 'admin'];

/** @param {Role} least whether the person who is signed in has this role, or one that may do more */
export function may(least) {
  const user = currentUser();
  return user !== null && ROLES.indexOf(user.role) >= ROLES.indexOf(least);
}

/** @param {Role} least the roles that suffice, in words */
export const enough = (least) => ROLES.slice(ROLES.indexOf(least)).join(' or ');
