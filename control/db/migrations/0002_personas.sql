-- Who answers which number.

CREATE TABLE personas (
    slug       text COLLATE "C" PRIMARY KEY,
    version    integer NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

-- Outlives its persona: a version that a call names stays readable, and a persona made anew counts on.
CREATE TABLE persona_versions (
    slug       text COLLATE "C" NOT NULL,
    version    integer NOT NULL,
    body       jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    created_by text NOT NULL,
    PRIMARY KEY (slug, version)
);

CREATE TABLE numbers (
    number     text COLLATE "C" PRIMARY KEY,
    written    text NOT NULL,
    campaign   text,
    updated_at timestamptz NOT NULL DEFAULT now()
);

-- One row: the number's persona. Several: the weighted variants of its campaign.
CREATE TABLE number_personas (
    number   text COLLATE "C" NOT NULL REFERENCES numbers (number) ON DELETE CASCADE,
    position integer NOT NULL,
    slug     text COLLATE "C" NOT NULL REFERENCES personas (slug),
    weight   double precision NOT NULL CHECK (weight > 0),
    PRIMARY KEY (number, position)
);

CREATE INDEX numbers_of_persona ON number_personas (slug);
