-- Recordings as facts tell of them. The sound itself lies in files or a bucket, under the recording's id.

CREATE TABLE recordings (
    id              uuid PRIMARY KEY,
    call_id         uuid NOT NULL UNIQUE,
    conversation_id text COLLATE "C" NOT NULL,
    started_at      timestamptz NOT NULL,
    -- How many agents recorded: between two of them some is missing.
    agents          integer NOT NULL DEFAULT 0,
    -- Null: as long as the installation keeps recordings.
    keep_days       integer,
    paused_by       text[] NOT NULL DEFAULT '{}',
    ended_at        timestamptz,
    -- The end of the sound that is kept so far, and its size there.
    sound_until     timestamptz,
    bytes           bigint NOT NULL DEFAULT 0,
    -- Why some of it could not be kept.
    incomplete      text,
    -- The row stays, so that sound that comes later is known to be unwanted.
    deleted_at      timestamptz
);

CREATE INDEX recordings_newest ON recordings (started_at DESC, id DESC);
CREATE INDEX recordings_of_conversation ON recordings (conversation_id);
