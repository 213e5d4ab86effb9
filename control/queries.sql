-- key_by_hash: the key that may be used now
SELECT id, name, role FROM api_keys
WHERE hash = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now());

-- add_key: a new key, by its hash
INSERT INTO api_keys (id, name, role, hash, created_by, expires_at) VALUES ($1, $2, $3, $4, $5, $6);

-- list_keys: every key that ever was, newest first
SELECT id, name, role, created_at, created_by, expires_at, revoked_at FROM api_keys
ORDER BY created_at DESC, id LIMIT 1000;

-- lock_keys: one change of keys at a time, so that the last admin's key cannot go twice at once
LOCK TABLE api_keys IN SHARE ROW EXCLUSIVE MODE;

-- key: one key
SELECT id, name, role, created_at, created_by, expires_at, revoked_at FROM api_keys WHERE id = $1;

-- revoke_key: ends a key for good
UPDATE api_keys SET revoked_at = COALESCE(revoked_at, now()) WHERE id = $1;

-- admins_besides: how many other lasting admin keys there are
SELECT count(*) FROM api_keys
WHERE id <> $1 AND role = 'admin' AND revoked_at IS NULL AND expires_at IS NULL;

-- any_key: whether a key was ever made
SELECT EXISTS (SELECT FROM api_keys);

-- add_audit: who did what to what
INSERT INTO audit (actor, action, subject, detail) VALUES ($1, $2, $3, $4);

-- reach_milestone: true for the one that reaches it first; others wait for its transaction
INSERT INTO milestones (name) VALUES ($1) ON CONFLICT DO NOTHING RETURNING true;
