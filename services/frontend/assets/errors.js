// @ts-check
// Error messages for users: what failed, and what to do.

/** @import {Exchange} from './types' */

/** A failed call. Its message is shown to users. */
export class CallError extends Error {
  /** @param {Exchange} exchange */
  constructor(exchange) {
    super(explain(exchange));
    this.status = exchange.reply?.status ?? 0;
    this.aborted = exchange.failure === 'aborted';
  }
}

/**
 * @param {Exchange} exchange
 * @returns {string}
 */
export function explain({ reply, failure }) {
  if (failure === 'timeout') return 'The broker timed out. Try again; if this persists, check its pods.';
  if (!reply) {
    return 'The broker can’t be reached. Check your network, and that BROKER_ORIGINS has this page’s origin, then try again.';
  }
  const reason = reasonOf(reply.json) || reply.statusText || `status ${reply.status}`;
  const again = retryText(reply.headers['retry-after']);
  switch (reply.status) {
    case 401:
      return `Not signed in: ${reason}.`;
    case 403:
      return `Not allowed: ${reason}. Ask an admin.`;
    case 429:
      return `${tooMany(reason)}. ${again}`;
    case 503:
      return `Unavailable: ${reason}. ${again}`;
    case 504:
      return `Timed out: ${reason}.`;
    default:
      return reply.status >= 500 ? `Server error: ${reason}. ${again}` : `Refused: ${reason}.`;
  }
}

/**
 * The message of an envelope (`message`) or of problem details (`detail`, `title`), without a final full stop.
 * @param {unknown} json
 */
function reasonOf(json) {
  if (typeof json !== 'object' || json === null) return '';
  const fields = /** @type {Record<string, unknown>} */ (json);
  const reason = [fields['message'], fields['detail'], fields['title']].find((text) => typeof text === 'string' && text);
  return String(reason ?? '').replace(/\.$/, '');
}

/**
 * The part of a reason before advice on when to try again, which `retryText` gives.
 * @param {string} reason
 */
function tooMany(reason) {
  const what = reason.split(/[:;]/, 1)[0] ?? reason;
  return /^too many/i.test(what) ? `T${what.slice(1)}` : `Too many requests: ${what}`;
}

/** @param {string | undefined} header seconds, or a date */
function retryText(header) {
  const seconds = Number(header);
  if (header === undefined || !Number.isFinite(seconds)) return 'Try again in a moment.';
  if (seconds >= 7200) return `Try again in ${Math.ceil(seconds / 3600)} hours.`;
  if (seconds >= 120) return `Try again in ${Math.ceil(seconds / 60)} minutes.`;
  return seconds === 1 ? 'Try again in 1 second.' : `Try again in ${seconds} seconds.`;
}

/**
 * The message to show for a thrown error; null if the call was aborted.
 * @param {unknown} error
 * @returns {string | null}
 */
export function messageOf(error) {
  if (error instanceof CallError) return error.aborted ? null : error.message;
  console.error(error);
  return 'Internal error of this page. Reload it; the browser’s console has details.';
}
