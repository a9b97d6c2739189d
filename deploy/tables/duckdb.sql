-- DuckDB 1.4 or newer: the archive as a view. Change the address: an archive in S3 needs `INSTALL httpfs` and
-- `CREATE SECRET (TYPE s3, PROVIDER credential_chain)` first; a folder that `sealstream archive copy` made needs nothing.
-- Each query lists the folders anew, so new days are there at once.

SET TimeZone = 'UTC';

CREATE SCHEMA IF NOT EXISTS sealstream;

CREATE OR REPLACE VIEW sealstream.entries AS
SELECT
  body,
  prev_hash,
  hash,
  seq,
  kind,
  id,
  timestamp,
  sequenced_at,
  actor_id,
  actor_type,
  action,
  resource_type,
  resource_id,
  result,
  ip_address,
  session_id,
  tenant,
  chain,
  date
FROM read_parquet(
  's3://audit-archive/entries/chain=*/date=*/*.parquet',
  hive_partitioning = true,
  hive_types = {'chain': VARCHAR, 'date': DATE}
);
