-- add_task: true when the id is new; a task that is there stays as it is
INSERT INTO tasks (id, kind, args, owner) VALUES ($1, $2, $3, $4) ON CONFLICT (id) DO NOTHING RETURNING true;

-- defer_task: has Procrastinate run it, in the transaction that makes it needed
UPDATE tasks SET job = (
    procrastinate_defer_jobs_v1(ARRAY[ROW(
        $2::text, $3::text, $4::integer, NULL, NULL, jsonb_build_object('task', id), $5::timestamptz
    )::procrastinate_job_to_defer_v1])
)[1]
WHERE id = $1;

-- task: one task
SELECT * FROM tasks WHERE id = $1;

-- list_tasks: newest first, after a cursor; a filter that is null asks nothing
SELECT * FROM tasks
WHERE ($1::text IS NULL OR state = $1)
    AND ($2::text IS NULL OR kind = $2)
    AND ($3::timestamptz IS NULL OR (created_at, id) < ($3, $4::uuid))
ORDER BY created_at DESC, id DESC LIMIT $5;

-- cancel_task: what it had written so far stays; what an attempt under way still writes does not count
UPDATE tasks SET state = 'cancelled', args = '{}', finished_at = now()
WHERE id = $1 AND state IN ('queued', 'processing') RETURNING *;

-- stop_job: one that waits never runs, one that runs is told
SELECT procrastinate_cancel_job_v1($1, true, false);

-- begin_attempt: nothing for a task that has ended
UPDATE tasks SET state = 'processing', attempts = attempts + 1, started_at = now()
WHERE id = $1 AND state IN ('queued', 'processing') RETURNING *;

-- advance: of the attempt that counts; progress never goes back
UPDATE tasks SET progress = GREATEST(progress, $3), message = $4
WHERE id = $1 AND attempts = $2 AND state = 'processing' RETURNING *;

-- complete_task: by the attempt that counts, in the transaction of what it did
UPDATE tasks SET state = 'completed', progress = 1, result = $3, error = NULL, args = '{}', finished_at = now()
WHERE id = $1 AND attempts = $2 AND state = 'processing' RETURNING *;

-- fail_task: by the attempt that counts
UPDATE tasks SET state = 'failed', error = $3, args = '{}', finished_at = now()
WHERE id = $1 AND attempts = $2 AND state = 'processing' RETURNING *;

-- set_back: after a fault that may pass the task waits for another attempt
UPDATE tasks SET state = 'queued', faults = faults + 1, error = $3
WHERE id = $1 AND attempts = $2 AND state = 'processing' RETURNING *, now() AS asked_at;

-- give_back: an attempt that was interrupted leaves the task to the next one
UPDATE tasks SET state = 'queued' WHERE id = $1 AND attempts = $2 AND state = 'processing' RETURNING *;

-- requeue_stalled: jobs whose worker is gone, or has not beaten for so many seconds, wait again
SELECT procrastinate_retry_job_v2(stalled.id, NULL, NULL, NULL, NULL) FROM (
    SELECT job.id FROM procrastinate_jobs AS job
    LEFT JOIN procrastinate_workers AS worker ON worker.id = job.worker_id
    WHERE job.status = 'doing'
        AND (worker.id IS NULL OR worker.last_heartbeat < now() - make_interval(secs => $1))
    FOR UPDATE OF job SKIP LOCKED
) AS stalled;

-- fail_overtime: tasks that a living worker has been at for too long
UPDATE tasks SET state = 'failed', error = $3, args = '{}', finished_at = now()
FROM procrastinate_jobs AS job
JOIN procrastinate_workers AS worker ON worker.id = job.worker_id
WHERE tasks.state = 'processing' AND tasks.started_at < now() - make_interval(secs => $1)
    AND job.id = tasks.job AND job.status = 'doing'
    AND worker.last_heartbeat >= now() - make_interval(secs => $2)
RETURNING tasks.*;

-- lost_tasks: tasks that have not ended, and that Procrastinate will not run any more
SELECT tasks.id, tasks.kind FROM tasks
LEFT JOIN procrastinate_jobs AS job ON job.id = tasks.job AND job.status IN ('todo', 'doing')
WHERE tasks.state IN ('queued', 'processing') AND job.id IS NULL
FOR UPDATE OF tasks SKIP LOCKED;

-- beat: true while the worker is known
UPDATE procrastinate_workers SET last_heartbeat = now() WHERE id = $1 RETURNING true;

-- worked: whether a worker has beaten in the last so many seconds
SELECT EXISTS (SELECT FROM procrastinate_workers WHERE last_heartbeat > now() - make_interval(secs => $1));

-- now: by the one clock that all workers share
SELECT now();

-- forget_jobs: Procrastinate's rows of what ended a day ago; the tasks tell of it longer
DELETE FROM procrastinate_jobs AS job
WHERE job.status IN ('succeeded', 'failed', 'cancelled', 'aborted')
    AND NOT EXISTS (
        SELECT FROM procrastinate_events AS event
        WHERE event.job_id = job.id AND event.at > now() - interval '1 day'
    );

-- forget_tasks: tasks that ended a week ago
DELETE FROM tasks WHERE finished_at < now() - interval '7 days';

-- forget_refused_facts: what nobody looked at in three months
DELETE FROM refused_facts WHERE at < now() - interval '90 days';
