-- Failed rows are listed by the time at which they failed. The number of rows that only wait does not matter to it.
CREATE INDEX outbox_failed_order ON outbox (failed_at, id) WHERE failed_at IS NOT NULL;
