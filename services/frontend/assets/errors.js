// @ts-check
// What went wrong, and what a person can do about it.

/** @import {Exchange} from './types' */

/** A call that did not succeed. Its message is for people. */
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
  if (failure === 'timeout') return 'The broker did not answer in time. Try again; if it stays so, look at its pods.';
  if (!reply) {
    return 'The broker can’t be reached. Check your network, and that this page’s origin is on the broker’s list, then try again.';
  }
  const said = saidBy(reply.json) || reply.statusText || `status ${reply.status}`;
  const again = retryText(reply.headers['retry-after']);
  switch (reply.status) {
    case 401:
      return `Not signed in: ${said}.`;
    case 403:
      return `Not allowed: ${said}. Ask an admin.`;
    case 429:
      return `Too many requests: ${said}. ${again}`;
    case 503:
      return `Not available: ${said}. ${again}`;
    case 504:
      return `Not done in time: ${said}.`;
    default:
      return reply.status >= 500 ? `The server failed: ${said}. ${again}` : `Refused: ${said}.`;
  }
}

/**
 * The words of an envelope (`message`) or of problem details (`detail`, `title`), without the full stop at their end.
 * @param {unknown} json
 */
function saidBy(json) {
  if (typeof json !== 'object' || json === null) return '';
  const fields = /** @type {Record<string, unknown>} */ (json);
  const said = [fields['message'], fields['detail'], fields['title']].find((text) => typeof text === 'string' && text);
  return String(said ?? '').replace(/\.$/, '');
}

/** @param {string | undefined} header seconds, or a date */
function retryText(header) {
  const seconds = Number(header);
  if (header === undefined || !Number.isFinite(seconds)) return 'Try again in a moment.';
  if (seconds >= 7200) return `Try again in ${Math.ceil(seconds / 3600)} hours.`;
  if (seconds >= 120) return `Try again in ${Math.ceil(seconds / 60)} minutes.`;
  return seconds === 1 ? 'Try again in a second.' : `Try again in ${seconds} seconds.`;
}

/**
 * The message of whatever was thrown; nothing when it was only called off.
 * @param {unknown} error
 * @returns {string | null}
 */
export function messageOf(error) {
  if (error instanceof CallError) return error.aborted ? null : error.message;
  console.error(error);
  return 'The console failed. Reload the page; the browser’s console has the reason.';
}
