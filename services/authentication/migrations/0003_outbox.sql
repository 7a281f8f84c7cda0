-- What other services are to be told, written with the change that it tells of. A delivered row goes.
CREATE TABLE outbox (
    id uuid PRIMARY KEY,
    recipient text NOT NULL CHECK (recipient IN ('logger', 'mail')),
    payload jsonb NOT NULL,
    traceparent text,
    tracestate text,
    created_at timestamptz NOT NULL,
    due_at timestamptz NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    leased_until timestamptz,
    failed_at timestamptz,
    reason text
);

CREATE INDEX outbox_due ON outbox (recipient, due_at) WHERE failed_at IS NULL;
