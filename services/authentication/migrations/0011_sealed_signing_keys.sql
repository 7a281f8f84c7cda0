-- The private key, encrypted: 12 bytes of nonce, then AES-256-GCM's output. `seed` has it in clear, as earlier versions wrote it, until
-- this version has encrypted it.
ALTER TABLE signing_keys
    ALTER COLUMN seed DROP NOT NULL,
    ADD COLUMN sealed bytea,
    ADD CONSTRAINT signing_keys_private CHECK (num_nonnulls(seed, sealed) = 1);
