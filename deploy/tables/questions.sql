-- Three questions that auditors ask, in the words that DuckDB, Spark, Athena and Trino share.

-- What one user did in a month.
SELECT sequenced_at, action, resource_type, resource_id, result
FROM sealstream.entries
WHERE chain = 'main' AND date BETWEEN '2026-11-01' AND '2026-11-30' AND actor_id = 'user-123'
ORDER BY seq;

-- Who touched one record.
SELECT seq, sequenced_at, actor_id, action, result
FROM sealstream.entries
WHERE chain = 'main' AND resource_type = 'patient_record' AND resource_id = 'patient-456'
ORDER BY seq;

-- Who failed or was denied more than five times in a day.
SELECT date, actor_id, count(*) AS failures
FROM sealstream.entries
WHERE chain = 'main' AND kind = 'event' AND result IN ('failure', 'denied')
GROUP BY date, actor_id
HAVING count(*) > 5
ORDER BY date, actor_id;
