// Types of the broker's responses, for the type check only.

/** Each includes the rights of those before it. */
export type Role = 'user' | 'viewer' | 'admin';

export interface User {
  id: string;
  email: string;
  first_name: string;
  last_name: string;
  active: boolean;
  role: Role;
  created_at: string;
  updated_at: string;
}

export interface Tokens {
  access_token: string;
  token_type: string;
  expires_in: number;
}

export interface LogEntry {
  id: string;
  time: string | null;
  service: string;
  level: string;
  name: string;
  data: string;
  trace_id: string | null;
  attributes: Record<string, string>;
}

export interface Page<T> {
  items: T[];
  next_cursor?: string | null;
}

export interface Logs extends Page<LogEntry> {
  default_from?: string | null;
}

export interface Span {
  span_id: string;
  parent_span_id?: string | null;
  service: string;
  name: string;
  kind: string;
  start_time: string;
  start_offset_us: number;
  duration_us: number;
  error: boolean;
  attributes: Record<string, unknown>;
}

export interface Trace {
  trace_id: string;
  spans: Span[];
}

export interface Session {
  id: string;
  created_at: string;
  last_used_at: string;
  expires_at: string;
  client_address?: string | null;
  user_agent?: string | null;
  current: boolean;
}

export interface DeadLetter {
  queue: string;
  id: string;
  event_id: string | null;
  type: string;
  source: string;
  time: string | null;
  dead_at: string | null;
  reason: string | null;
  attempts: number;
  trace_id: string | null;
  size: number;
  replaying_since: string | null;
  /** Only in the response for one dead letter. */
  data?: unknown;
}

/** A request and its outcome. */
export interface Exchange {
  method: string;
  path: string;
  /** Request headers, without the access token. */
  sent: Record<string, string>;
  body: string | null;
  startedAt: Date;
  tookMs: number;
  /** Null if there was no response. */
  reply: Reply | null;
  /** Why there was no response. */
  failure: 'offline' | 'timeout' | 'aborted' | null;
}

export interface Reply {
  status: number;
  statusText: string;
  headers: Record<string, string>;
  text: string;
  /** The parsed body, if it is JSON. */
  json: unknown;
  traceId: string | null;
}

/** A view of the console. */
export interface View {
  /** Shows the view for the current address. */
  open(signal: AbortSignal): void | Promise<void>;
}
