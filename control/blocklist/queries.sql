-- lock: one change of the list at a time, so that it stays within its cap
LOCK TABLE blocklist IN SHARE ROW EXCLUSIVE MODE;

-- count: how many callers are blocked
SELECT count(*) FROM blocklist;

-- listed: by pattern, after a cursor
SELECT pattern, written, reason, added_at, added_by FROM blocklist WHERE pattern > $1 ORDER BY pattern LIMIT $2;

-- entry: one of them
SELECT pattern, written, reason, added_at, added_by FROM blocklist WHERE pattern = $1;

-- add: of one that is there the reason changes
INSERT INTO blocklist (pattern, written, reason, added_by) VALUES ($1, $2, $3, $4)
ON CONFLICT (pattern) DO UPDATE SET reason = excluded.reason;

-- remove: nothing when it is not there
DELETE FROM blocklist WHERE pattern = $1 RETURNING pattern;

-- patterns: the whole list, within its cap
SELECT pattern FROM blocklist ORDER BY pattern LIMIT $1;
