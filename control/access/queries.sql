-- key_by_hash: the key that may be used now, and its owner
SELECT k.name, k.role, k.user_id, u.role AS owners_role, k.may_listen AND u.may_listen AS may_listen
FROM api_keys k JOIN users u ON u.id = k.user_id
WHERE k.hash = $1 AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now())
    AND u.removed_at IS NULL;

-- add_key: a new key, by its hash
INSERT INTO api_keys (id, user_id, name, role, may_listen, hash, created_by, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8);

-- expire_keys: keys whose time is over open nothing; from here on the list and the audit log say so
WITH expired AS (
    UPDATE api_keys SET revoked_at = expires_at
    WHERE revoked_at IS NULL AND expires_at <= now() RETURNING id, name
)
INSERT INTO audit (actor, action, subject, detail)
SELECT 'job:expire', 'api_key.expired', id::text, jsonb_build_object('name', name) FROM expired;

-- list_keys: every key that ever was, newest first
SELECT id, user_id, name, role, may_listen, created_at, created_by, expires_at, revoked_at FROM api_keys
ORDER BY created_at DESC, id LIMIT 1000;

-- lock_keys: one change of keys at a time, so that the last admin's key cannot go twice at once; behind lock_users
LOCK TABLE api_keys IN SHARE ROW EXCLUSIVE MODE;

-- key: one key
SELECT id, user_id, name, role, may_listen, created_at, created_by, expires_at, revoked_at FROM api_keys
WHERE id = $1;

-- revoke_key: ends a key for good
UPDATE api_keys SET revoked_at = COALESCE(revoked_at, now()) WHERE id = $1;

-- admins_besides: how many other lasting keys there are that may what admins may
SELECT count(*) FROM api_keys k JOIN users u ON u.id = k.user_id
WHERE k.id <> $1 AND k.role = 'admin' AND k.revoked_at IS NULL AND k.expires_at IS NULL
    AND u.role = 'admin' AND u.removed_at IS NULL;

-- any_key: whether a key was ever made
SELECT EXISTS (SELECT FROM api_keys);

-- first_admin: who owns the key of the first start
SELECT id FROM users WHERE role = 'admin' AND joined_at IS NOT NULL AND removed_at IS NULL
ORDER BY created_at, id LIMIT 1;

-- user_there: whether somebody can own a key
SELECT EXISTS (SELECT FROM users WHERE id = $1 AND removed_at IS NULL);

-- session_by_hash: the browser session that may be used now, and whose it is
SELECT s.id, s.user_id, u.handle, u.role, u.may_listen, s.last_used_at < now() - interval '1 minute' AS stale
FROM browser_sessions s JOIN users u ON u.id = s.user_id
WHERE s.hash = $1 AND s.revoked_at IS NULL AND s.expires_at > now() AND s.last_used_at > now() - $2::interval
    AND u.removed_at IS NULL;

-- touch_session: it was used now
UPDATE browser_sessions SET last_used_at = now() WHERE id = $1;

-- add_session: a new one, by its hash
INSERT INTO browser_sessions (id, user_id, hash, browser, expires_at) VALUES ($1, $2, $3, $4, now() + $5::interval)
RETURNING expires_at;

-- sessions: those of a user that may be used now, newest first
SELECT id, user_id, browser, created_at, last_used_at, expires_at FROM browser_sessions
WHERE user_id = $1 AND revoked_at IS NULL AND expires_at > now() AND last_used_at > now() - $2::interval
ORDER BY created_at DESC, id LIMIT 200;

-- revoke_session: of this user, or with null of any; nothing when there is none to revoke
UPDATE browser_sessions SET revoked_at = now()
WHERE id = $1 AND revoked_at IS NULL AND ($2::uuid IS NULL OR user_id = $2) RETURNING user_id;

-- revoke_sessions: all of a user
UPDATE browser_sessions SET revoked_at = now() WHERE user_id = $1 AND revoked_at IS NULL RETURNING id;

-- forget_sessions: those that ended long ago
DELETE FROM browser_sessions WHERE expires_at < now() - interval '30 days';

-- add_link: a new one, by its hash
INSERT INTO sign_in_links (id, user_id, hash, created_by, expires_at) VALUES ($1, $2, $3, $4, now() + $5::interval)
RETURNING expires_at;

-- user_of_link: whom a link is for, whatever its secret
SELECT user_id FROM sign_in_links WHERE id = $1;

-- use_link: its user when it is good; of several at once for one
UPDATE sign_in_links SET used_at = now() WHERE id = $1 AND hash = $2 AND used_at IS NULL AND expires_at > now()
RETURNING user_id;

-- void_links: those of a user that nobody used yet
UPDATE sign_in_links SET expires_at = now() WHERE user_id = $1 AND used_at IS NULL AND expires_at > now();

-- forget_links: those that ended long ago
DELETE FROM sign_in_links WHERE expires_at < now() - interval '30 days';

-- lock_users: one change of users at a time, so that the last two admins cannot go at once
LOCK TABLE users IN SHARE ROW EXCLUSIVE MODE;

-- users: by handle, after a cursor
SELECT id, handle, name, role, may_listen, created_at, created_by, joined_at, signed_in_at FROM users
WHERE removed_at IS NULL AND handle > $1 ORDER BY handle LIMIT $2;

-- user: one of them
SELECT id, handle, name, role, may_listen, created_at, created_by, joined_at, signed_in_at FROM users
WHERE removed_at IS NULL AND id = $1;

-- add_user: nothing when the handle is taken
INSERT INTO users (id, handle, name, role, may_listen, created_by, joined_at)
VALUES ($1, $2, $3, $4, $5, $6, CASE WHEN $7 THEN now() END)
ON CONFLICT (handle) WHERE removed_at IS NULL DO NOTHING RETURNING id;

-- change_user: null leaves a field as it is
UPDATE users SET name = COALESCE($2, name), role = COALESCE($3, role), may_listen = COALESCE($4, may_listen)
WHERE id = $1 AND removed_at IS NULL;

-- signed_in: who comes in has joined
UPDATE users SET signed_in_at = now(), joined_at = COALESCE(joined_at, now())
WHERE id = $1 AND removed_at IS NULL RETURNING id;

-- remove_user: the handle is free from then on
UPDATE users SET removed_at = now() WHERE id = $1;

-- other_admins: how many there are besides this one, invited ones not counted
SELECT count(*) FROM users WHERE id <> $1 AND role = 'admin' AND joined_at IS NOT NULL AND removed_at IS NULL;

-- has_lasting_key: whether a user has a key that lasts and may what admins may
SELECT EXISTS (
    SELECT FROM api_keys WHERE user_id = $1 AND role = 'admin' AND revoked_at IS NULL AND expires_at IS NULL
);

-- lasting_keys_of_others: how many such keys other admins have
SELECT count(*) FROM api_keys k JOIN users u ON u.id = k.user_id
WHERE k.user_id <> $1 AND k.role = 'admin' AND k.revoked_at IS NULL AND k.expires_at IS NULL
    AND u.role = 'admin' AND u.removed_at IS NULL;

-- revoke_keys: all of a user
UPDATE api_keys SET revoked_at = now() WHERE user_id = $1 AND revoked_at IS NULL RETURNING id;

-- add_audit: who did what to what
INSERT INTO audit (actor, user_id, action, subject, detail) VALUES ($1, $2, $3, $4, $5);

-- audit: newest first, below a cursor; null filters nothing
SELECT id, at, actor, user_id, action, subject, detail FROM audit
WHERE id < $1 AND ($2::text IS NULL OR actor = $2) AND ($3::text IS NULL OR action = $3)
    AND ($4::text IS NULL OR subject = $4)
ORDER BY id DESC LIMIT $5;
