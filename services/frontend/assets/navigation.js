// @ts-check
// Going from one address of the console to another without loading a page: the access token stays in memory.

/** @type {Array<() => void>} */
const listeners = [];

/** @param {() => void} listener told when another view is to be shown */
export function onNavigate(listener) {
  listeners.push(listener);
}

/** @param {string} url */
export function navigate(url) {
  setAddress(url);
  for (const listener of listeners) listener();
}

/**
 * Changes the address and nothing else.
 * @param {string} url
 */
export function setAddress(url) {
  if (url !== location.pathname + location.search) history.pushState(null, '', url);
}
