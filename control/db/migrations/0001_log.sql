-- The log of facts and what is read from it.

CREATE TABLE conversations (
    id         text COLLATE "C" PRIMARY KEY CHECK (length(id) BETWEEN 1 AND 128),
    last_seq   bigint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE events (
    conversation_id text COLLATE "C" NOT NULL REFERENCES conversations (id),
    seq             bigint NOT NULL,
    id              uuid NOT NULL UNIQUE,
    call_id         uuid,
    at              timestamptz NOT NULL,
    source          text NOT NULL,
    kind            text NOT NULL,
    body            jsonb NOT NULL,
    recorded_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (conversation_id, seq)
);

CREATE INDEX events_items ON events (conversation_id, seq) WHERE kind = 'item';
CREATE INDEX events_of_call ON events (call_id, conversation_id, seq) WHERE call_id IS NOT NULL;

-- A reading of the log, kept in the transaction that appends; every column can be made again from the events.
CREATE TABLE calls (
    id              uuid PRIMARY KEY,
    conversation_id text COLLATE "C" NOT NULL REFERENCES conversations (id),
    channel         text,
    room            text,
    dialed          text,
    caller          text,
    persona         text,
    persona_source  text,
    persona_version text,
    started_at      timestamptz NOT NULL,
    answered_at     timestamptz,
    ended_at        timestamptz,
    reason          text,
    duration_s      double precision,
    turns           integer,
    status          text NOT NULL GENERATED ALWAYS AS (
        CASE WHEN ended_at IS NOT NULL THEN 'ended' WHEN answered_at IS NOT NULL THEN 'live' ELSE 'ringing' END
    ) STORED
);

CREATE INDEX calls_newest ON calls (started_at DESC, id DESC);
CREATE INDEX calls_live ON calls (started_at DESC, id DESC) WHERE ended_at IS NULL;
CREATE INDEX calls_of_conversation ON calls (conversation_id);
