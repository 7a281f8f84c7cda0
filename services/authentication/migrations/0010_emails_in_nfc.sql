-- Addresses are kept in NFC, so that one address has one account however it is typed. Text in other encodings than UTF-8 can't be
-- normalized. PostgreSQL leaves alone what its own version of Unicode does not know.
DO $$
DECLARE
    conflicts text;
BEGIN
    IF getdatabaseencoding() <> 'UTF8' THEN
        RETURN;
    END IF;
    -- No account may appear between the check and the change.
    LOCK TABLE users IN SHARE ROW EXCLUSIVE MODE;
    SELECT string_agg(ids, ', ') INTO conflicts
    FROM (
        SELECT string_agg(id::text, ' and ' ORDER BY created_at, id) AS ids
        FROM users GROUP BY lower(normalize(email, NFC)) HAVING count(*) > 1
        ORDER BY 1 LIMIT 20
    ) AS pairs;
    IF conflicts IS NOT NULL THEN
        RAISE EXCEPTION 'users with the same email address in Unicode NFC: ids %. Change the email of one of each in the table users; the migration then goes on', conflicts;
    END IF;
    UPDATE users SET email = normalize(email, NFC) WHERE email IS NOT NFC NORMALIZED;
END
$$;
