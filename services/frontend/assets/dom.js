// @ts-check
// Finds and creates elements. Data is inserted as text nodes and attribute values, never as markup.

/**
 * Finds the element with this id and type.
 * @template {HTMLElement} T
 * @param {string} id
 * @param {new () => T} type
 * @returns {T}
 */
export function byId(id, type) {
  const found = document.getElementById(id);
  if (!(found instanceof type)) throw new Error(`the page has no ${type.name} #${id}`);
  return found;
}

/**
 * Creates an element.
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Record<string, string | undefined>} [attributes]
 * @param {...(Node | string)} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/**
 * Creates a button that can't be pressed again while its action runs.
 * @param {string} label
 * @param {Record<string, string | undefined>} attributes
 * @param {() => void | Promise<void>} run
 */
export function button(label, attributes, run) {
  const element = make('button', { type: 'button', ...attributes }, label);
  element.addEventListener('click', () => void busy(element, run));
  return element;
}

/**
 * Runs an action while a button, or the buttons of a form, are disabled.
 * @param {HTMLElement} control
 * @param {() => unknown} run
 */
export async function busy(control, run) {
  if (control.getAttribute('aria-busy') === 'true') return;
  const buttons = control instanceof HTMLButtonElement ? [control] : [...control.querySelectorAll('button')];
  control.setAttribute('aria-busy', 'true');
  // Not `disabled`, because a disabled button loses the keyboard focus.
  for (const each of buttons) each.setAttribute('aria-disabled', 'true');
  try {
    await run();
  } finally {
    control.removeAttribute('aria-busy');
    for (const each of buttons) each.removeAttribute('aria-disabled');
  }
}

/**
 * Handles the submission of a form. `by` is the button that submitted.
 * @param {HTMLFormElement} form
 * @param {(fields: (name: string) => string, by: HTMLElement | null) => unknown} run
 */
export function onSubmit(form, run) {
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    const data = new FormData(form);
    const fields = (/** @type {string} */ name) => String(data.get(name) ?? '');
    void busy(form, () => run(fields, event.submitter));
  });
}

/**
 * Shows a message in a notice, or hides the notice.
 * @param {HTMLElement} notice
 * @param {string | null} text
 * @param {'error' | 'done'} [kind]
 */
export function tell(notice, text, kind = 'error') {
  notice.hidden = text === null;
  notice.dataset['kind'] = kind;
  notice.textContent = text ?? '';
}

/**
 * Announces a text to screen readers.
 * @param {string} text
 */
export function announce(text) {
  byId('status', HTMLElement).textContent = text;
}

/**
 * @param {string} name
 * @returns {string} the content of the meta element
 */
export function setting(name) {
  return document.querySelector(`meta[name="${name}"]`)?.getAttribute('content') ?? '';
}
