-- People, how they come in, and whose a key is.

CREATE TABLE users (
    id           uuid PRIMARY KEY,
    handle       text COLLATE "C" NOT NULL,
    name         text NOT NULL,
    role         text NOT NULL CHECK (role IN ('viewer', 'operator', 'admin')),
    may_listen   boolean NOT NULL DEFAULT false,
    created_at   timestamptz NOT NULL DEFAULT now(),
    created_by   text NOT NULL,
    -- Null while somebody is invited and has not come.
    joined_at    timestamptz,
    signed_in_at timestamptz,
    removed_at   timestamptz
);

-- A removed user stays on record, and the handle is free again.
CREATE UNIQUE INDEX users_by_handle ON users (handle) WHERE removed_at IS NULL;

-- Tokens are random, and kept as hashes here and below.
CREATE TABLE sign_in_links (
    id         uuid PRIMARY KEY,
    user_id    uuid NOT NULL REFERENCES users (id),
    hash       bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    created_by text NOT NULL,
    expires_at timestamptz NOT NULL,
    used_at    timestamptz
);

CREATE INDEX sign_in_links_of_user ON sign_in_links (user_id);

CREATE TABLE browser_sessions (
    id           uuid PRIMARY KEY,
    user_id      uuid NOT NULL REFERENCES users (id),
    hash         bytea NOT NULL UNIQUE,
    browser      text NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    last_used_at timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz NOT NULL,
    revoked_at   timestamptz
);

CREATE INDEX browser_sessions_of_user ON browser_sessions (user_id);

-- Every installation has its first admin, who owns the keys that were made before there were users.
INSERT INTO users (id, handle, name, role, may_listen, created_by, joined_at)
VALUES (gen_random_uuid(), 'admin', 'First admin', 'admin', true, 'first start', now());

ALTER TABLE api_keys ADD COLUMN user_id uuid REFERENCES users (id);
ALTER TABLE api_keys ADD COLUMN may_listen boolean NOT NULL DEFAULT false;
UPDATE api_keys SET user_id = (SELECT id FROM users), may_listen = role = 'admin';
ALTER TABLE api_keys ALTER COLUMN user_id SET NOT NULL;

CREATE INDEX api_keys_of_user ON api_keys (user_id);

-- A handle may be given again; this says which of its users it was.
ALTER TABLE audit ADD COLUMN user_id uuid;
