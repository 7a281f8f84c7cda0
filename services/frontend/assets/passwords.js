// @ts-check
// Forgotten passwords: requests a mail with a reset link, and sets a new password with it.

import { announce, byId, onSubmit, tell } from './dom.js';
import { CallError, messageOf } from './errors.js';
import { exchange } from './http.js';
import { forget } from './session.js';

/** @import {View} from './types' */

const forgotForm = byId('forgot-form', HTMLFormElement);
const forgotNotice = byId('forgot-notice', HTMLElement);
const resetForm = byId('reset-form', HTMLFormElement);
const resetNotice = byId('reset-notice', HTMLElement);
const resetDone = byId('reset-done', HTMLElement);

/** The token of the reset link, in memory only. */
let token = '';

/**
 * @param {string} path
 * @param {unknown} body
 */
async function post(path, body) {
  const done = await exchange({ method: 'POST', path, body });
  if (!done.reply || done.reply.status >= 300) throw new CallError(done);
}

onSubmit(forgotForm, async (field) => {
  tell(forgotNotice, null);
  const email = field('email').trim();
  try {
    await post('/v1/password/forgot', { email });
    forgotForm.reset();
    const text = `If ${email} has an account here, a mail with a link is on its way. The link works once, for 30 minutes.`;
    tell(forgotNotice, text, 'done');
    announce(text);
  } catch (error) {
    tell(forgotNotice, messageOf(error));
  }
});

onSubmit(resetForm, async (field) => {
  tell(resetNotice, null);
  try {
    await post('/v1/password/reset', { token, new_password: field('new') });
    token = '';
    resetForm.reset();
    resetForm.hidden = true;
    resetDone.hidden = false;
    // The reset has ended all sessions, including one of this browser.
    forget();
    announce('The new password is set.');
  } catch (error) {
    tell(resetNotice, messageOf(error));
  }
});

/** @type {View} */
export const forgotView = {
  open() {
    tell(forgotNotice, null);
  },
};

/** @type {View} */
export const resetView = {
  open() {
    // Removes the token from the URL, and so from the browser's history.
    if (location.hash.length > 1) {
      token = location.hash.slice(1);
      history.replaceState(null, '', location.pathname);
      resetDone.hidden = true;
    }
    resetForm.hidden = token === '';
    const opened = token !== '' || !resetDone.hidden;
    tell(resetNotice, opened ? null : 'This page needs the link of a password reset mail. Request one under “Forgot your password?”.');
  },
};
