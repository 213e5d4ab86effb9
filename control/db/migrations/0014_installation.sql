-- Which installation this database is of: where recordings are kept it leaves its mark, so that two notice each other.

CREATE TABLE installation (
    id     uuid NOT NULL DEFAULT gen_random_uuid(),
    single boolean PRIMARY KEY DEFAULT true CHECK (single)
);

INSERT INTO installation DEFAULT VALUES;
