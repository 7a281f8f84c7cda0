-- Links that set a new password. Only a hash is kept of the token. A used one stays until it would have expired, so that a repeat whose
-- first reply was lost is recognised.
CREATE TABLE password_resets (
    hash bytea PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    expires_at timestamptz NOT NULL,
    used_at timestamptz
);

CREATE INDEX password_resets_user_id ON password_resets (user_id);
CREATE INDEX password_resets_expires_at ON password_resets (expires_at);

-- How often reset mails are asked for, by network and by email address. next_at: as in sign_in_addresses.
CREATE TABLE password_reset_limits (
    key bytea PRIMARY KEY,
    next_at timestamptz NOT NULL
);

CREATE INDEX password_reset_limits_next_at ON password_reset_limits (next_at);
