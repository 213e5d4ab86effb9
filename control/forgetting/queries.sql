-- look: at what was forgotten, while nobody is being forgotten; until the transaction ends
SELECT pg_advisory_xact_lock_shared($1);

-- forget_alone: while nobody records who calls; until the transaction ends
SELECT pg_advisory_xact_lock($1);

-- now: by the one clock that all share, and not as of when the transaction began
SELECT clock_timestamp();

-- calls_of_caller: what may be a caller's calls, by digits; other spellings of other callers are among them. Null: all
-- that are on record, whatever the clock of another host says
SELECT id, caller FROM calls
WHERE caller IS NOT NULL AND regexp_replace(regexp_replace(split_part(split_part(
    regexp_replace(caller, '^\s*(sips?|tel):', '', 'i'), '@', 1), ';', 1), '[^0-9]', '', 'g'), '^00', '') = $1
    AND ($2::timestamptz IS NULL OR started_at <= $2);

-- conversations_of_calls: those that the calls, or facts of theirs, are in
SELECT conversation_id AS id FROM calls WHERE id = ANY($1::uuid[])
UNION SELECT conversation_id FROM events WHERE call_id = ANY($1::uuid[]);

-- known_conversation: whose it is, and whether somebody called in it; none that is forgotten
SELECT owner, EXISTS (SELECT FROM calls WHERE conversation_id = $1) AS has_calls
FROM conversations WHERE id = $1 AND NOT is_forgotten(id);

-- is_there: whether a conversation is
SELECT EXISTS (SELECT FROM conversations WHERE id = $1);

-- add_receipt: of a request; one that is known stays as it is
INSERT INTO receipts (id, number, asked_at, asked_by, user_id, key) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT DO NOTHING;

-- add_tombstones: by what is known of the conversations alone
INSERT INTO tombstones (conversation, receipt) SELECT unnest($1::bytea[]), $2 ON CONFLICT DO NOTHING;

-- add_erasures: conversations whose contents go
INSERT INTO erasures (conversation_id, receipt) SELECT unnest($1::text[]), $2 ON CONFLICT DO NOTHING;

-- reopen: there is more to go than was known, and it is looked for then; whoever erases takes receipts last, too
UPDATE receipts SET finished_at = NULL, again_at = GREATEST(again_at, $2) WHERE id = $1;

-- receipt_of_number: of a caller who called before being forgotten, under one of several keys
SELECT id FROM receipts WHERE number = ANY($1::bytea[]) AND asked_at >= $2 ORDER BY asked_at LIMIT 1;

-- forgotten: which of these conversations are, each with its receipt
SELECT given.id, tombstones.receipt FROM unnest($1::text[]) AS given (id)
JOIN tombstones ON tombstones.conversation = sha256(convert_to(given.id, 'UTF8'));

-- receipt: one
SELECT id, number, asked_at, asked_by, user_id, finished_at, went, kept FROM receipts WHERE id = $1;

-- keys: those that forgotten numbers are under
SELECT DISTINCT key FROM receipts WHERE key IS NOT NULL;

-- known_receipts: which of these there are
SELECT id FROM receipts WHERE id = ANY($1::uuid[]);

-- receipts_with_tombstones: all but these, as the ledger keeps them
SELECT receipts.id, number, asked_at, asked_by,
    array_remove(array_agg(tombstones.conversation), NULL) AS conversations FROM receipts
LEFT JOIN tombstones ON tombstones.receipt = receipts.id
WHERE receipts.id <> ALL($1::uuid[]) GROUP BY receipts.id ORDER BY asked_at;

-- restored_conversations: those that are there again although they are forgotten
SELECT conversations.id, tombstones.receipt FROM conversations
JOIN tombstones ON tombstones.conversation = sha256(convert_to(conversations.id, 'UTF8'))
WHERE tombstones.receipt = ANY($1::uuid[]);

-- callers: all who called, and all who were blocked, as they were written
SELECT DISTINCT caller FROM calls WHERE caller IS NOT NULL
UNION SELECT DISTINCT subject FROM audit WHERE action LIKE 'blocklist.%';

-- unfinished: receipts of which something is still to be done
SELECT id, spellings FROM receipts
WHERE finished_at IS NULL OR EXISTS (SELECT FROM erasures WHERE receipt = receipts.id) ORDER BY asked_at;

-- due: those of these that have nothing left to erase, and are not looked through once more
SELECT id FROM receipts WHERE id = ANY($1::uuid[]) AND finished_at IS NULL AND (again_at IS NULL OR again_at <= now())
    AND NOT EXISTS (SELECT FROM erasures WHERE receipt = receipts.id);

-- some_erasures: of the oldest requests first, without those that something else is waited for
SELECT erasures.conversation_id, erasures.receipt FROM erasures JOIN receipts ON receipts.id = erasures.receipt
WHERE erasures.conversation_id <> ALL($2::text[])
ORDER BY receipts.asked_at, erasures.conversation_id LIMIT $1;

-- count_erasures: how many are left
SELECT count(*) FROM erasures;

-- keep_calls: what is known of the calls of these conversations, before their rows go
UPDATE erasures SET calls = ARRAY(
    SELECT unnest(erasures.calls)
    UNION SELECT id FROM calls WHERE calls.conversation_id = erasures.conversation_id
    UNION SELECT call_id FROM events WHERE events.conversation_id = erasures.conversation_id AND call_id IS NOT NULL
)
WHERE conversation_id = ANY($1::text[]) RETURNING conversation_id, calls;

-- note_found: what lies in a place outside the tables, before it goes; a second look, after a death, finds less
UPDATE erasures SET went = went
    || jsonb_build_object($2::text, GREATEST($3::bigint, COALESCE((went ->> $2)::bigint, 0)))
WHERE conversation_id = $1;

-- take_erasure: for the one who erases the rows, when nothing lies elsewhere any more
DELETE FROM erasures WHERE conversation_id = $1 RETURNING receipt, went;

-- hold_erasure: for the one who erases the rows, while something may lie elsewhere
SELECT receipt, went FROM erasures WHERE conversation_id = $1 FOR UPDATE;

-- keep_went: what went so far
UPDATE erasures SET went = $2 WHERE conversation_id = $1;

-- add_went: to what a receipt counts already
UPDATE receipts SET went = went || (
    SELECT COALESCE(jsonb_object_agg(given.key, given.value::bigint + COALESCE((went ->> given.key)::bigint, 0)), '{}')
    FROM jsonb_each_text($2::jsonb) AS given WHERE given.value::bigint > 0
)
WHERE id = $1;

-- set_kept: what stays of the number, as it is the operators' own
UPDATE receipts SET kept = $2 WHERE id = $1;

-- look_for: what names the number and no conversation; nothing any more once that was done
UPDATE receipts SET spellings = $2 WHERE id = $1;

-- hold_receipts: so that what `finish` sees of them stays so; a statement sees what was committed before it began
SELECT id FROM receipts WHERE id = ANY($1::uuid[]) ORDER BY id FOR NO KEY UPDATE;

-- finish: those of these that have nothing left to erase
UPDATE receipts SET finished_at = now()
WHERE id = ANY($1::uuid[]) AND finished_at IS NULL AND (again_at IS NULL OR again_at <= now())
    AND NOT EXISTS (SELECT FROM erasures WHERE erasures.receipt = receipts.id);

-- erase_turns: before the conversation is locked, in the order of who keeps a turn
DELETE FROM turns WHERE conversation_id = $1;

-- erase_tasks: those with one of these words between quotes in what they were given or found; which word that was. The
-- texts are split once and joined with all words, which have `\u0022` for a quote of their own; here and below
WITH found AS MATERIALIZED (
    SELECT tasks.id, min(given.place) AS place
    FROM tasks
    CROSS JOIN LATERAL string_to_table(replace(args::text || COALESCE(result::text, ''), '\"', '\u0022'), '"') AS token
    JOIN unnest($1::text[]) WITH ORDINALITY AS given (word, place) ON given.word = token
    WHERE args <> '{}' OR result IS NOT NULL
    GROUP BY tasks.id
)
UPDATE tasks SET args = '{}', result = NULL, message = '', error = NULL,
    state = CASE WHEN state IN ('queued', 'processing') THEN 'cancelled' ELSE state END,
    finished_at = COALESCE(finished_at, now())
FROM found WHERE found.id = tasks.id RETURNING found.place;

-- erase_refused_facts: entries of the stream that could not be recorded, which may be no text at all
WITH found AS MATERIALIZED (
    SELECT refused_facts.id, min(given.place) AS place
    FROM refused_facts
    CROSS JOIN LATERAL string_to_table(replace(encode(entry, 'escape'), '\\"', '\\u0022'), '"') AS token
    JOIN unnest($1::text[]) WITH ORDINALITY AS given (word, place)
        ON encode(convert_to(given.word, 'UTF8'), 'escape') = token
    WHERE entry <> ''
    GROUP BY refused_facts.id
)
DELETE FROM refused_facts USING found WHERE found.id = refused_facts.id RETURNING found.place;

-- erase_audit: what stands beside the id; that something was done to it stays. Of the names, the first is the
-- conversation's and the others its calls'; here and below
UPDATE audit SET detail = '{}' WHERE subject = ANY($1::text[]) AND detail <> '{}';

-- erase_recordings: what is known of them; their sound is a place of its own
DELETE FROM recordings WHERE conversation_id = ($1::text[])[1];

-- erase_events: the words
DELETE FROM events WHERE conversation_id = ($1::text[])[1];

-- erase_calls: who called whom
DELETE FROM calls WHERE conversation_id = ($1::text[])[1];

-- erase_codes: by which somebody may go on with it
DELETE FROM codes WHERE conversation_id = ($1::text[])[1];

-- erase_conversations: at last, as the others refer to it
DELETE FROM conversations WHERE id = ($1::text[])[1];

-- erase_blocking: who blocked the number and why; `$1` are spellings of it
UPDATE audit SET subject = 'forgotten', detail = '{}'
WHERE action LIKE 'blocklist.%' AND subject = ANY($1::text[]);

-- blocked: entries of the blocklist that are this number and no other
SELECT count(*) FROM blocklist WHERE pattern = $1;
