-- What the stream of facts held and the log could not take; the newest of it, for a person to look at.

CREATE TABLE refused_facts (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at      timestamptz NOT NULL DEFAULT now(),
    fact_id uuid,
    why     text NOT NULL,
    entry   bytea NOT NULL
);

CREATE INDEX refused_facts_by_id ON refused_facts (fact_id) WHERE fact_id IS NOT NULL;
