-- Codes by which their user goes on with a conversation elsewhere, once: a row is gone when it was used.

CREATE TABLE codes (
    hash            bytea PRIMARY KEY,
    conversation_id text COLLATE "C" NOT NULL REFERENCES conversations (id),
    user_id         uuid NOT NULL REFERENCES users (id),
    expires_at      timestamptz NOT NULL
);

CREATE INDEX codes_of_conversation ON codes (conversation_id);
CREATE INDEX codes_by_expiry ON codes (expires_at);
