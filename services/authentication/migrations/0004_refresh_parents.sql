-- The token that a refresh token was issued for. NULL: a session's first token, or one that a version before this one issued.
ALTER TABLE refresh_tokens ADD COLUMN parent bytea;

CREATE INDEX refresh_tokens_parent ON refresh_tokens (parent, session_id);
