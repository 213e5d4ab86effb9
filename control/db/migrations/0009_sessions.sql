-- Conversations as sessions: items that were taken back leave the history and stay in the log.

ALTER TABLE events ADD COLUMN retracted boolean NOT NULL DEFAULT false;
DROP INDEX events_items;
CREATE INDEX events_items ON events (conversation_id, seq) WHERE kind = 'item' AND NOT retracted;

-- Whose conversation it is, when it is a user's: of calls that nobody continued it is nobody's.
ALTER TABLE conversations ADD COLUMN owner uuid;
ALTER TABLE conversations ADD COLUMN title text;

-- Who works on the next turn of a conversation; a holder that dies lets go when its time is over.
CREATE TABLE turns (
    conversation_id text COLLATE "C" PRIMARY KEY CHECK (length(conversation_id) BETWEEN 1 AND 128),
    holder          uuid NOT NULL,
    until           timestamptz NOT NULL
);

-- A user's chats, the newest first.
CREATE INDEX conversations_of_owner ON conversations (owner, created_at DESC, id DESC) WHERE title IS NOT NULL;
