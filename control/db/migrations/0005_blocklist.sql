-- Callers that get no agent: a number, all numbers that begin with some digits (`1555*`), or `anonymous`.

CREATE TABLE blocklist (
    pattern  text COLLATE "C" PRIMARY KEY CHECK (pattern ~ '^(anonymous|[0-9]{1,32}\*?)$'),
    written  text NOT NULL,
    reason   text NOT NULL DEFAULT '',
    added_at timestamptz NOT NULL DEFAULT now(),
    added_by text NOT NULL
);
