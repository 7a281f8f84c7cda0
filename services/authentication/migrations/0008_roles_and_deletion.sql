-- A third role: viewers read logs, traces and what is known about dead letters.
ALTER TABLE users DROP CONSTRAINT users_role_check;
ALTER TABLE users ADD CONSTRAINT users_role_check CHECK (role IN ('user', 'viewer', 'admin'));

-- Whose accounts were deleted, so that a restart does not make the first user again. Only a hash is kept of the address.
CREATE TABLE deleted_users (
    email_hash bytea PRIMARY KEY,
    deleted_at timestamptz NOT NULL
);
