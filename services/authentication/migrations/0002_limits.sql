-- next_at: when the address would have used up nothing of its allowance (GCRA's theoretical arrival time).
CREATE TABLE sign_in_addresses (
    address text PRIMARY KEY,
    next_at timestamptz NOT NULL
);

CREATE INDEX sign_in_addresses_next_at ON sign_in_addresses (next_at);

CREATE TABLE sign_in_failures (
    key bytea PRIMARY KEY,
    failures integer NOT NULL,
    last_at timestamptz NOT NULL
);

CREATE INDEX sign_in_failures_last_at ON sign_in_failures (last_at);
