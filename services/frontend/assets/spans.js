// @ts-check
// Orders the spans of a trace for the waterfall: children below their parent, earlier ones first.

/** @import {Span} from './types' */

/**
 * @typedef {object} Placed
 * @property {Span} span
 * @property {number} depth
  * @property {number} left the start, as a fraction of the trace
  * @property {number} width the duration, as a fraction of the trace
 */

/**
 * @param {Span[]} spans
 * @returns {{ rows: Placed[], totalUs: number }}
 */
export function waterfall(spans) {
  const totalUs = Math.max(1, ...spans.map((span) => span.start_offset_us + span.duration_us));
  const ids = new Set(spans.map((span) => span.span_id));
  /** @type {Map<string, Span[]>} */
  const children = new Map();
  const sorted = [...spans].sort((a, b) => a.start_offset_us - b.start_offset_us);
  for (const span of sorted) {
    // A span whose parent has not arrived is at the top level.
    const parent = span.parent_span_id && ids.has(span.parent_span_id) ? span.parent_span_id : '';
    children.set(parent, [...(children.get(parent) ?? []), span]);
  }
  return { rows: order(sorted, children, totalUs), totalUs };
}

/**
 * Without recursion, and each span once, because untrusted spans may be deeply nested or form a cycle.
 * @param {Span[]} sorted
 * @param {Map<string, Span[]>} children
 * @param {number} totalUs
 */
function order(sorted, children, totalUs) {
  /** @type {Placed[]} */
  const rows = [];
  const placed = new Set();
  // Spans of a cycle are not reachable from the top level, so all spans follow as further roots.
  const tops = [...(children.get('') ?? []), ...sorted];
  const stack = tops.map((span) => ({ span, depth: 0 })).reverse();
  for (let next = stack.pop(); next; next = stack.pop()) {
    const { span, depth } = next;
    if (placed.has(span)) continue;
    placed.add(span);
    rows.push({ span, depth, left: span.start_offset_us / totalUs, width: span.duration_us / totalUs });
    const below = children.get(span.span_id) ?? [];
    children.delete(span.span_id);
    stack.push(...below.map((child) => ({ span: child, depth: depth + 1 })).reverse());
  }
  return rows;
}
