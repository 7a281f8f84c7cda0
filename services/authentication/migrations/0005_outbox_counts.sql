-- For the counts: each reads a bounded number of entries of one of these, however many rows there are.
CREATE INDEX outbox_waiting ON outbox (recipient, created_at) WHERE failed_at IS NULL;
CREATE INDEX outbox_failed ON outbox (recipient, failed_at) WHERE failed_at IS NOT NULL;
