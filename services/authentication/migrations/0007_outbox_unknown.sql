-- How many attempts ended without anybody knowing whether the recipient has the letter.
ALTER TABLE outbox ADD COLUMN unknowns integer NOT NULL DEFAULT 0;
