// @ts-check
// Finding and making elements. Whatever comes from elsewhere becomes a text node or an attribute's value, never markup.

/**
 * The element with this id, which has to be of this type.
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
 * A new element.
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
 * A button that runs something, and can't be pressed again while it runs.
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
 * Runs something while a button, or a form's buttons, are out of use.
 * @param {HTMLElement} control
 * @param {() => unknown} run
 */
export async function busy(control, run) {
  if (control.getAttribute('aria-busy') === 'true') return;
  const buttons = control instanceof HTMLButtonElement ? [control] : [...control.querySelectorAll('button')];
  control.setAttribute('aria-busy', 'true');
  // Not `disabled`: a button that is, loses the focus that the keyboard needs.
  for (const each of buttons) each.setAttribute('aria-disabled', 'true');
  try {
    await run();
  } finally {
    control.removeAttribute('aria-busy');
    for (const each of buttons) each.removeAttribute('aria-disabled');
  }
}

/**
 * Takes a form's submission into a function of ours. The button that submitted comes with it.
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
 * Shows a message in a notice, or takes it away.
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
 * Says something to those who listen instead of looking.
 * @param {string} text
 */
export function announce(text) {
  byId('status', HTMLElement).textContent = text;
}

/**
 * @param {string} name
 * @returns {string} the content of this meta element
 */
export function setting(name) {
  return document.querySelector(`meta[name="${name}"]`)?.getAttribute('content') ?? '';
}
