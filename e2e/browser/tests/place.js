// @ts-check
// Settings of the Stack under test, as printed by `make urls`.

/** @param {string} name @param {string} [fallback] */
export function setting(name, fallback) {
  const value = process.env[name] || fallback;
  if (!value) throw new Error(`${name} is not set: 'make urls' prints it while 'make up' runs`);
  return value.replace(/\/$/, '');
}

export const CONSOLE = setting('CONSOLE_URL');
export const BROKER = setting('BROKER_URL');
export const MAIL = setting('MAIL_URL');
export const JAEGER = setting('JAEGER_URL');
export const ADMIN = { email: setting('ADMIN_EMAIL'), password: setting('ADMIN_PASSWORD') };
/** An origin that the Stack allows, at which the tests serve the page of the original. */
export const ORIGINAL_ORIGIN = setting('WEFT_ORIGINAL_ORIGIN', 'http://127.0.0.1:8099');
export const SCREENSHOTS = setting('WEFT_SCREENSHOTS', new URL('../../../target/screenshots', import.meta.url).pathname);
export const CHROMIUM = setting('CHROMIUM', '/usr/bin/chromium');

/** Timeout for an arrival on a busy machine: an event through RabbitMQ, a span through its batch, a mail. */
export const ARRIVES_WITHIN_MS = 60_000;
