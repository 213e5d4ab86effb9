-- list_personas: by slug, after a cursor
SELECT p.slug, p.version, p.created_at, p.updated_at, v.body,
    ARRAY(SELECT n.written FROM number_personas np JOIN numbers n USING (number)
          WHERE np.slug = p.slug ORDER BY n.number) AS numbers
FROM personas p JOIN persona_versions v USING (slug, version)
WHERE p.slug > $1 ORDER BY p.slug LIMIT $2;

-- persona: one persona as it is now
SELECT p.slug, p.version, p.created_at, p.updated_at, v.body,
    ARRAY(SELECT n.written FROM number_personas np JOIN numbers n USING (number)
          WHERE np.slug = p.slug ORDER BY n.number) AS numbers
FROM personas p JOIN persona_versions v USING (slug, version)
WHERE p.slug = $1;

-- make_persona: nothing when the slug is taken; versions of an earlier one of that name are counted on
INSERT INTO personas (slug, version)
SELECT $1, COALESCE(max(version), 0) + 1 FROM persona_versions WHERE slug = $1
ON CONFLICT DO NOTHING RETURNING version;

-- advance_persona: the next version, one writer at a time
UPDATE personas SET version = version + 1, updated_at = now() WHERE slug = $1 RETURNING version;

-- add_version: what the persona is in this version
INSERT INTO persona_versions (slug, version, body, created_by) VALUES ($1, $2, $3, $4);

-- versions: newest first, below a cursor
SELECT version, body, created_at, created_by FROM persona_versions
WHERE slug = $1 AND version < $2 ORDER BY version DESC LIMIT $3;

-- lock_persona: so that no number comes to it meanwhile
SELECT slug FROM personas WHERE slug = $1 FOR UPDATE;

-- numbers_of: the numbers that a persona answers
SELECT n.written FROM number_personas np JOIN numbers n USING (number) WHERE np.slug = $1 ORDER BY n.number;

-- remove_persona: its versions stay
DELETE FROM personas WHERE slug = $1 RETURNING slug;

-- answering: who answers a number
SELECT n.campaign, np.weight, p.slug, p.version, v.body
FROM numbers n
JOIN number_personas np USING (number)
JOIN personas p USING (slug)
JOIN persona_versions v ON v.slug = p.slug AND v.version = p.version
WHERE n.number = $1 ORDER BY np.position;

-- list_numbers: by number, after a cursor
SELECT n.number, n.written, n.campaign, n.updated_at,
    ARRAY(SELECT np.slug FROM number_personas np WHERE np.number = n.number ORDER BY np.position) AS slugs,
    ARRAY(SELECT np.weight FROM number_personas np WHERE np.number = n.number ORDER BY np.position) AS weights
FROM numbers n WHERE n.number > $1 ORDER BY n.number LIMIT $2;

-- number: one number
SELECT n.number, n.written, n.campaign, n.updated_at,
    ARRAY(SELECT np.slug FROM number_personas np WHERE np.number = n.number ORDER BY np.position) AS slugs,
    ARRAY(SELECT np.weight FROM number_personas np WHERE np.number = n.number ORDER BY np.position) AS weights
FROM numbers n WHERE n.number = $1;

-- known_slugs: which of these personas there are, held until the number points to them
SELECT slug FROM personas WHERE slug = ANY($1::text[]) ORDER BY slug FOR KEY SHARE;

-- set_number: true when the number is new
INSERT INTO numbers (number, written, campaign) VALUES ($1, $2, $3)
ON CONFLICT (number) DO UPDATE SET written = excluded.written, campaign = excluded.campaign, updated_at = now()
RETURNING xmax = 0 AS made;

-- forget_personas_of: before the number gets others
DELETE FROM number_personas WHERE number = $1;

-- add_persona_of: one of the number's personas
INSERT INTO number_personas (number, position, slug, weight) VALUES ($1, $2, $3, $4);

-- remove_number: the personas stay
DELETE FROM numbers WHERE number = $1 RETURNING number;

-- reach_milestone: true for the one that reaches it first; others wait for its transaction
INSERT INTO milestones (name) VALUES ($1) ON CONFLICT DO NOTHING RETURNING true;
