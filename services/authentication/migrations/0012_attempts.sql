-- Attempts that have begun count as failures until the password is known to be right. These columns tell them from failures, so that
-- a right password waits for them and is not refused because of them. An attempt that a crash ended stays counted.
ALTER TABLE sign_in_addresses ADD COLUMN pending integer NOT NULL DEFAULT 0;
ALTER TABLE sign_in_failures ADD COLUMN pending boolean NOT NULL DEFAULT false;
