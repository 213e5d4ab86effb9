-- begin_recording: an agent records; the earliest beginning is the recording's
INSERT INTO recordings (id, call_id, conversation_id, started_at, keep_days, agents) VALUES ($1, $2, $3, $4, $5, 1)
ON CONFLICT (id) DO UPDATE SET
    started_at = LEAST(recordings.started_at, excluded.started_at),
    keep_days = COALESCE(recordings.keep_days, excluded.keep_days),
    agents = recordings.agents + 1;

-- pause_recording: by one more
UPDATE recordings SET paused_by = array_append(array_remove(paused_by, $2), $2) WHERE id = $1;

-- resume_recording: by one less
UPDATE recordings SET paused_by = array_remove(paused_by, $2) WHERE id = $1;

-- tell_incomplete: the first reason stands
UPDATE recordings SET incomplete = COALESCE(incomplete, $2) WHERE id = $1;

-- add_sound: a piece is kept; it may be known before anything else is
INSERT INTO recordings (id, call_id, conversation_id, started_at, sound_until, bytes)
VALUES ($1, $2, $3, $4::timestamptz, $4::timestamptz + make_interval(secs => $5::float), $6)
ON CONFLICT (id) DO UPDATE SET
    started_at = LEAST(recordings.started_at, excluded.started_at),
    sound_until = GREATEST(recordings.sound_until, excluded.sound_until),
    bytes = recordings.bytes + excluded.bytes
WHERE recordings.deleted_at IS NULL;

-- end_recording: nothing more is recorded
UPDATE recordings SET ended_at = COALESCE(ended_at, started_at + make_interval(secs => $2::float)) WHERE id = $1;

-- delete_recording: for good; known to be, whether it was known before or not
INSERT INTO recordings (id, call_id, conversation_id, started_at, deleted_at) VALUES ($1, $2, $3, $4::timestamptz, $4::timestamptz)
ON CONFLICT (id) DO UPDATE SET
    deleted_at = COALESCE(recordings.deleted_at, excluded.deleted_at), sound_until = NULL, bytes = 0;

-- list_recordings: newest first, after a cursor, as shown; a filter that is null asks nothing
SELECT r.id, r.call_id, r.conversation_id, r.started_at, r.paused_by, r.bytes, r.deleted_at,
    COALESCE(EXTRACT(EPOCH FROM r.sound_until - r.started_at), 0)::float AS duration_s,
    r.started_at + make_interval(days => COALESCE(r.keep_days, $1::int)) AS expires_at,
    CASE WHEN r.incomplete IS NOT NULL THEN r.incomplete
        WHEN r.agents > 1 THEN 'an agent was lost'
        WHEN r.ended_at IS NULL AND NOT so.live THEN 'its agent was lost'
        WHEN so.lost THEN 'some of the sound never came' END AS missing,
    CASE WHEN r.deleted_at IS NOT NULL THEN 'deleted'
        WHEN so.live THEN CASE WHEN cardinality(r.paused_by) > 0 THEN 'paused' ELSE 'recording' END
        WHEN so.short AND NOT so.lost AND r.incomplete IS NULL THEN 'storing'
        WHEN r.incomplete IS NOT NULL OR r.agents > 1 OR r.ended_at IS NULL OR so.lost THEN 'incomplete'
        ELSE 'complete' END AS state
FROM recordings r LEFT JOIN calls c ON c.id = r.call_id,
    LATERAL (
        SELECT
            -- Of a call that nobody knows the end is not known either: it is over when it has to be.
            r.ended_at IS NULL AND c.ended_at IS NULL AND r.started_at > now() - interval '2 days' AS live,
            r.deleted_at IS NULL
                AND COALESCE(r.sound_until, r.started_at) < r.ended_at - interval '1 second' AS short
    ) seen,
    -- What has not come for so long was lost with the disk it waited on.
    LATERAL (SELECT seen.live, seen.short, seen.short AND r.ended_at < now() - interval '7 days' AS lost) so
WHERE ($2::uuid IS NULL OR r.id = $2)
    AND ($3::uuid IS NULL OR r.call_id = $3)
    AND ($4::text IS NULL OR r.conversation_id = $4)
    AND ($5::timestamptz IS NULL OR (r.started_at, r.id) < ($5, $6::uuid))
    AND NOT is_forgotten(r.conversation_id)
ORDER BY r.started_at DESC, r.id DESC LIMIT $7;

-- listened: one entry for what one actor hears of one recording within some seconds
INSERT INTO audit (actor, user_id, action, subject, detail)
SELECT $1::text, $2::uuid, 'recording.listened', $3::text, $4::jsonb
WHERE NOT EXISTS (
    SELECT FROM audit
    WHERE action = 'recording.listened' AND subject = $3 AND actor = $1
        AND user_id IS NOT DISTINCT FROM $2::uuid AND at > now() - make_interval(secs => $5::float)
);

-- to_delete: those of these calls that have one
SELECT call_id, conversation_id FROM recordings WHERE call_id = ANY($1::uuid[]) AND deleted_at IS NULL ORDER BY call_id;

-- deleted_among: those of these recordings that were deleted
SELECT id FROM recordings WHERE id = ANY($1::uuid[]) AND deleted_at IS NOT NULL;

-- expired_recordings: those whose time is over, but not while their call runs
SELECT r.call_id, r.conversation_id FROM recordings r LEFT JOIN calls c ON c.id = r.call_id
WHERE r.deleted_at IS NULL AND r.started_at + make_interval(days => COALESCE(r.keep_days, $1::int)) <= now()
    AND (r.ended_at IS NOT NULL OR c.ended_at IS NOT NULL OR r.started_at < now() - interval '2 days')
    -- Those go as their conversations do.
    AND NOT EXISTS (SELECT FROM tombstones WHERE conversation = sha256(convert_to(r.conversation_id, 'UTF8')))
ORDER BY r.started_at LIMIT $2;

-- unwanted: of these, those that were deleted; and, when all are this installation's, those that nobody knows and that
-- are older than anything kept
SELECT asked.id FROM unnest($1::uuid[], $2::timestamptz[]) AS asked (id, at) LEFT JOIN recordings r ON r.id = asked.id
WHERE r.deleted_at IS NOT NULL OR ($4 AND r.id IS NULL AND asked.at < now() - make_interval(days => $3::int));

-- mend_recordings: rows as what is kept says. Not while facts of it are on their way, which would count twice then; one
-- that comes later still is mended the next time
UPDATE recordings r SET sound_until = GREATEST(r.sound_until, kept.until), bytes = kept.bytes
FROM unnest($1::uuid[], $2::timestamptz[], $3::timestamptz[], $4::bigint[]) AS kept (id, put_at, until, bytes)
WHERE r.id = kept.id AND r.deleted_at IS NULL AND kept.put_at < now() - interval '1 hour'
    AND (r.bytes <> kept.bytes OR COALESCE(r.sound_until, '-infinity') < kept.until);

-- installation: which this is
SELECT id FROM installation;
