-- The private key, encrypted: 12 bytes of nonce, then AES-256-GCM's output. `seed` has it unencrypted, as earlier versions write it.
-- It is encrypted when `clear_until` has passed: until then, pods of the earlier version may still run, and read `seed`.
ALTER TABLE signing_keys
    ALTER COLUMN seed DROP NOT NULL,
    ADD COLUMN sealed bytea,
    ADD COLUMN clear_until timestamptz NOT NULL DEFAULT now() + interval '15 minutes',
    ADD CONSTRAINT signing_keys_private CHECK (num_nonnulls(seed, sealed) = 1);
