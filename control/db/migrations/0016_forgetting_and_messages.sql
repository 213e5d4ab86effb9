-- What is still to be done of a request, so that its job knows it by the rows alone.

-- The calls of a conversation: known also when its rows have gone before what lay elsewhere.
ALTER TABLE erasures ADD COLUMN calls uuid[] NOT NULL DEFAULT '{}';

-- A caller's number as it is looked for in what names no conversation; empty once that was done.
ALTER TABLE receipts ADD COLUMN spellings text[] NOT NULL DEFAULT '{}';

-- When everything is looked through once more, as facts came again; it is not forgotten before.
ALTER TABLE receipts ADD COLUMN again_at timestamptz;

-- What was done to one thing.
CREATE INDEX audit_of_subject ON audit (subject);

-- Whether a conversation is, or is about to be: nobody reads of one that is.
CREATE FUNCTION is_forgotten(conversation_id text) RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE
RETURN EXISTS (SELECT FROM tombstones WHERE conversation = sha256(convert_to(conversation_id, 'UTF8')));

-- Which key the number is under, by the SHA-256 of that key; null where nobody knows.
ALTER TABLE receipts ADD COLUMN key bytea;

-- Messages that were taken, the newest first.
CREATE INDEX events_messages ON events (at DESC, id DESC) WHERE kind = 'message_taken';
