-- Callers and conversations that are forgotten: what went, and what must not come back.

-- One for each request. Of a caller's number it has an HMAC, whose key is not in the database.
CREATE TABLE receipts (
    id          uuid PRIMARY KEY,
    number      bytea,
    asked_at    timestamptz NOT NULL,
    asked_by    text NOT NULL,
    user_id     uuid,
    finished_at timestamptz,
    went        jsonb NOT NULL DEFAULT '{}',
    kept        jsonb NOT NULL DEFAULT '{}'
);

CREATE INDEX receipts_of_number ON receipts (number, asked_at) WHERE number IS NOT NULL;
CREATE INDEX receipts_unfinished ON receipts (asked_at) WHERE finished_at IS NULL;

-- Conversations of which nothing is recorded any more, by the SHA-256 of their ids.
CREATE TABLE tombstones (
    conversation bytea PRIMARY KEY,
    receipt      uuid NOT NULL REFERENCES receipts (id)
);

CREATE INDEX tombstones_of_receipt ON tombstones (receipt);

-- What is still to be erased: a row goes with the last of its conversation. `went` counts what lay outside the tables.
CREATE TABLE erasures (
    conversation_id text COLLATE "C" PRIMARY KEY,
    receipt         uuid NOT NULL REFERENCES receipts (id),
    went            jsonb NOT NULL DEFAULT '{}'
);

CREATE INDEX erasures_of_receipt ON erasures (receipt);

-- A caller's calls, whatever the spelling; the same words stand in control/forgetting/queries.sql.
CREATE INDEX calls_of_caller ON calls ((regexp_replace(regexp_replace(split_part(split_part(
    regexp_replace(caller, '^\s*(sips?|tel):', '', 'i'), '@', 1), ';', 1), '[^0-9]', '', 'g'), '^00', '')))
WHERE caller IS NOT NULL;
