// @ts-check
// Asks for confirmation before an action that can't be undone.

import { byId } from './dom.js';

const dialog = byId('confirm', HTMLDialogElement);
const title = byId('confirm-title', HTMLElement);
const text = byId('confirm-text', HTMLElement);
const yes = byId('confirm-yes', HTMLButtonElement);
const no = byId('confirm-no', HTMLButtonElement);

yes.addEventListener('click', () => dialog.close('yes'));
no.addEventListener('click', () => dialog.close('no'));

/**
 * Resolves to whether the user confirmed. The dialog element restores the focus itself.
 * @param {{ title: string, text: string, action: string }} question
 * @returns {Promise<boolean>}
 */
export function confirmed(question) {
  title.textContent = question.title;
  text.textContent = question.text;
  yes.textContent = question.action;
  dialog.returnValue = 'no';
  dialog.showModal();
  no.focus();
  return new Promise((resolve) => {
    dialog.addEventListener('close', () => resolve(dialog.returnValue === 'yes'), { once: true });
  });
}
