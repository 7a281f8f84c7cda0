-- What each user was created with. A repeat of the creation is compared with it, and not with what the user has become. A deletion keeps
-- the id alone, so that a repeat does not create the user again.
CREATE TABLE created_users (
    id uuid PRIMARY KEY,
    first_name text,
    last_name text,
    password_hash text,
    role text
);

INSERT INTO created_users SELECT id, first_name, last_name, password_hash, role FROM users;
