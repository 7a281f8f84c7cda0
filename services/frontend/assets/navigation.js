// @ts-check
// Navigates within the console without loading a page, so that the access token stays in memory.

/** @type {Array<() => void>} */
const listeners = [];

/** @param {() => void} listener called when another view must be shown */
export function onNavigate(listener) {
  listeners.push(listener);
}

/** @param {string} url */
export function navigate(url) {
  setAddress(url);
  for (const listener of listeners) listener();
}

/**
 * Changes the URL without notifying listeners.
 * @param {string} url
 */
export function setAddress(url) {
  if (url !== location.pathname + location.search) history.pushState(null, '', url);
}
