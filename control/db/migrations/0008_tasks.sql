-- Work that runs later, as people see it. Procrastinate says when and where it runs: `job` is its row there.

CREATE TABLE tasks (
    id          uuid PRIMARY KEY,
    kind        text NOT NULL,
    state       text NOT NULL DEFAULT 'queued'
        CHECK (state IN ('queued', 'processing', 'completed', 'failed', 'cancelled')),
    progress    double precision NOT NULL DEFAULT 0 CHECK (progress BETWEEN 0 AND 1),
    message     text NOT NULL DEFAULT '',
    owner       text,
    args        jsonb NOT NULL DEFAULT '{}',
    result      jsonb,
    error       text,
    -- Starts, which also tell one start from another; and faults that were worth another start.
    attempts    integer NOT NULL DEFAULT 0,
    faults      integer NOT NULL DEFAULT 0,
    job         bigint,
    created_at  timestamptz NOT NULL DEFAULT now(),
    started_at  timestamptz,
    finished_at timestamptz
);

CREATE INDEX tasks_newest ON tasks (created_at DESC, id DESC);
CREATE INDEX tasks_unfinished ON tasks (job) WHERE state IN ('queued', 'processing');
CREATE INDEX tasks_finished ON tasks (finished_at) WHERE finished_at IS NOT NULL;
