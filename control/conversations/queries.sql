-- make_conversations: the ids in order, so that two writers of the same ones never wait for each other in a ring
INSERT INTO conversations (id) SELECT unnest($1::text[]) ON CONFLICT DO NOTHING;

-- lock_conversations: held until the transaction ends; whoever has them numbers the events
SELECT id, last_seq FROM conversations WHERE id = ANY($1::text[]) ORDER BY id FOR UPDATE;

-- lock_conversation: one, when there is one
SELECT last_seq FROM conversations WHERE id = $1 FOR UPDATE;

-- known_ids: which of these facts are recorded
SELECT id FROM events WHERE id = ANY($1::uuid[]);

-- known_or_forgotten: which of these facts are recorded; null when one of the conversations is forgotten
SELECT id FROM events WHERE id = ANY($1::uuid[])
UNION ALL
SELECT NULL FROM tombstones
WHERE conversation IN (SELECT sha256(convert_to(given.id, 'UTF8')) FROM unnest($2::text[]) AS given (id));

-- add_events: facts in their places
INSERT INTO events (conversation_id, seq, id, call_id, at, source, kind, body)
SELECT * FROM unnest(
    $1::text[], $2::bigint[], $3::uuid[], $4::uuid[], $5::timestamptz[], $6::text[], $7::text[], $8::jsonb[]
);

-- advance_conversations: the last number given in each
UPDATE conversations SET last_seq = given.seq, updated_at = now()
FROM unnest($1::text[], $2::bigint[]) AS given (id, seq)
WHERE conversations.id = given.id;

-- project_call: what facts say of a call, whatever order they come in; an applied persona outranks a resolved one
INSERT INTO calls (
    id, conversation_id, started_at, channel, room, dialed, caller,
    persona, persona_source, persona_version, answered_at, ended_at, reason, duration_s, turns
)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
ON CONFLICT (id) DO UPDATE SET
    started_at = LEAST(calls.started_at, excluded.started_at),
    channel = COALESCE(calls.channel, excluded.channel),
    room = COALESCE(calls.room, excluded.room),
    dialed = COALESCE(calls.dialed, excluded.dialed),
    caller = COALESCE(calls.caller, excluded.caller),
    persona = CASE WHEN $16 THEN excluded.persona ELSE COALESCE(calls.persona, excluded.persona) END,
    persona_source =
        CASE WHEN $16 THEN excluded.persona_source ELSE COALESCE(calls.persona_source, excluded.persona_source) END,
    persona_version =
        CASE WHEN $16 THEN excluded.persona_version ELSE COALESCE(calls.persona_version, excluded.persona_version) END,
    answered_at = LEAST(calls.answered_at, excluded.answered_at),
    ended_at = COALESCE(calls.ended_at, excluded.ended_at),
    reason = COALESCE(calls.reason, excluded.reason),
    duration_s = COALESCE(calls.duration_s, excluded.duration_s),
    turns = COALESCE(calls.turns, excluded.turns);

-- read_events: a conversation from a place on; of one that is forgotten nothing, here and below, as its rows may be there
-- for a moment longer
SELECT conversation_id, seq, id, call_id, at, source, kind, body FROM events
WHERE conversation_id = $1 AND seq > $2 AND NOT is_forgotten($1) ORDER BY seq;

-- latest_items: newest first, before a place; the reader turns them round
SELECT conversation_id, seq, id, call_id, at, source, kind, body FROM events
WHERE conversation_id = $1 AND kind = 'item' AND NOT retracted AND ($3::bigint IS NULL OR seq < $3)
    AND NOT is_forgotten($1)
ORDER BY seq DESC LIMIT $2;

-- retract_items: out of the history, not out of the log
UPDATE events SET retracted = true
WHERE conversation_id = $1 AND kind = 'item' AND NOT retracted AND seq BETWEEN $2 AND $3;

-- events_of_call: everything of one call in order
SELECT conversation_id, seq, id, call_id, at, source, kind, body FROM events
WHERE call_id = $1 AND NOT is_forgotten(conversation_id) ORDER BY conversation_id, seq;

-- list_messages: that were taken, newest first, after a cursor
SELECT conversation_id, seq, id, call_id, at, source, kind, body FROM events
WHERE kind = 'message_taken' AND ($1::timestamptz IS NULL OR (at, id) < ($1, $2::uuid))
    AND NOT is_forgotten(conversation_id)
ORDER BY at DESC, id DESC LIMIT $3;

-- list_calls: newest first, after a cursor; a filter that is null asks nothing
SELECT * FROM calls
WHERE ($1::boolean IS NULL OR (ended_at IS NULL) = $1)
    AND ($2::text IS NULL OR persona = $2)
    AND ($3::text IS NULL OR regexp_replace(regexp_replace(dialed, '[^0-9]', '', 'g'), '^00', '') = $3)
    AND ($4::text IS NULL OR conversation_id = $4)
    AND ($5::timestamptz IS NULL OR started_at >= $5)
    AND ($6::timestamptz IS NULL OR started_at < $6)
    AND ($7::timestamptz IS NULL OR (started_at, id) < ($7, $8::uuid))
    AND NOT is_forgotten(conversation_id)
ORDER BY started_at DESC, id DESC LIMIT $9;

-- call: one call
SELECT * FROM calls WHERE id = $1 AND NOT is_forgotten(conversation_id);

-- unrecorded: which of these ids the log has not; those that it will never take are settled too
SELECT asked.id FROM unnest($1::uuid[]) AS asked (id)
WHERE NOT EXISTS (SELECT FROM events WHERE events.id = asked.id)
    AND NOT EXISTS (SELECT FROM refused_facts WHERE refused_facts.fact_id = asked.id);

-- set_aside: an entry of the stream that cannot be recorded; of a fact that comes again one is enough
INSERT INTO refused_facts (fact_id, why, entry)
SELECT $1::uuid, $2::text, $3::bytea
WHERE $1 IS NULL OR NOT EXISTS (SELECT FROM refused_facts WHERE fact_id = $1)
RETURNING id;

-- forget_set_aside: the oldest beyond a count
DELETE FROM refused_facts WHERE id <= $1::bigint - $2::bigint;

-- begin_turn: true for the one who may go on with the conversation
INSERT INTO turns (conversation_id, holder, until) VALUES ($1, $2, now() + make_interval(secs => $3::float))
ON CONFLICT (conversation_id) DO UPDATE SET holder = excluded.holder, until = excluded.until
WHERE turns.until < now()
RETURNING true;

-- renew_turn: by the holder alone
UPDATE turns SET until = now() + make_interval(secs => $3::float) WHERE conversation_id = $1 AND holder = $2
RETURNING true;

-- end_turn: true when it was still the holder's
DELETE FROM turns WHERE conversation_id = $1 AND holder = $2 RETURNING true;

-- make_chat: a conversation that a user began
INSERT INTO conversations (id, owner, title) VALUES ($1, $2, $3) RETURNING id, owner, title, created_at, updated_at;

-- chat: one of a user's
SELECT id, owner, title, created_at, updated_at FROM conversations
WHERE id = $1 AND owner = $2 AND title IS NOT NULL AND NOT is_forgotten(id);

-- stop_turn: what works on a user's chat may not add to it any more
DELETE FROM turns USING conversations
WHERE turns.conversation_id = conversations.id AND conversations.id = $1 AND conversations.owner = $2;

-- lock_chat: one of a user's, which nobody else adds to until the transaction ends
SELECT id, owner, title, created_at, updated_at FROM conversations
WHERE id = $1 AND owner = $2 AND title IS NOT NULL AND NOT is_forgotten(id) FOR UPDATE;

-- list_chats: newest first, after a cursor
SELECT id, owner, title, created_at, updated_at FROM conversations
WHERE owner = $1 AND title IS NOT NULL AND ($2::timestamptz IS NULL OR (created_at, id) < ($2, $3::text))
    AND NOT is_forgotten(id)
ORDER BY created_at DESC, id DESC LIMIT $4;

-- rename_chat: and note when
UPDATE conversations SET title = $2, updated_at = now() WHERE id = $1;

-- erase_written: whatever came of what was written here, but for where something was taken back; what was said in a call
-- stays in the call
UPDATE events SET kind = $2, body = $3::jsonb
WHERE conversation_id = $1 AND call_id IS NULL AND kind NOT IN ($2, 'items_retracted');

-- let_go: nobody's chat any more; of a call's conversation the call is left
UPDATE conversations SET title = NULL, owner = NULL, updated_at = now() WHERE id = $1;

-- may_claim: whether a conversation is the user's, or could become theirs
SELECT NOT is_forgotten($1::text) AND NOT EXISTS (
    SELECT FROM conversations WHERE id = $1 AND owner IS DISTINCT FROM $2::uuid
);

-- owned_with_calls: conversations of a user's in which somebody called
SELECT id FROM conversations
WHERE owner = $1 AND EXISTS (SELECT FROM calls WHERE calls.conversation_id = conversations.id) ORDER BY id;

-- claim_conversation: a new one is the user's, unless it was forgotten; true when it is theirs
INSERT INTO conversations (id, owner) SELECT $1::text, $2::uuid
WHERE NOT EXISTS (SELECT FROM tombstones WHERE conversation = sha256(convert_to($1::text, 'UTF8')))
ON CONFLICT (id) DO UPDATE SET owner = conversations.owner WHERE conversations.owner = $2
RETURNING true;

-- claim_chat: a conversation that is nobody's, or the user's own, as a chat; one that is a chat keeps its title
UPDATE conversations SET owner = $2, title = COALESCE(title, $3) WHERE id = $1 AND (owner IS NULL OR owner = $2)
RETURNING id;

-- lock_open: a conversation that is nobody's or the user's own, which nobody else adds to until the transaction ends
SELECT id FROM conversations WHERE id = $1 AND (owner IS NULL OR owner = $2) AND NOT is_forgotten(id) FOR UPDATE;

-- add_code: a new one, by its hash
INSERT INTO codes (hash, conversation_id, user_id, expires_at) VALUES ($1, $2, $3, now() + $4::interval)
RETURNING expires_at;

-- conversation_of_code: what a code of this user continues, good or not
SELECT conversation_id FROM codes WHERE hash = $1 AND user_id = $2;

-- use_code: true when it is good; of several at once for one
DELETE FROM codes WHERE hash = $1 AND user_id = $2 AND expires_at > now() RETURNING true;

-- void_codes: those of a conversation
DELETE FROM codes WHERE conversation_id = $1;

-- forget_codes: those that have expired
DELETE FROM codes WHERE expires_at <= now();

-- items_beside: the newest items of a conversation that are none of this call
SELECT conversation_id, seq, id, call_id, at, source, kind, body FROM events
WHERE conversation_id = $1 AND kind = 'item' AND NOT retracted AND call_id IS DISTINCT FROM $2
    AND NOT is_forgotten($1)
ORDER BY seq DESC LIMIT $3;
