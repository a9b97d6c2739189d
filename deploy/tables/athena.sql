-- Athena (engine 3): the archive as a table, one statement at a time. Nothing has to be run when a day or a segment is
-- added: which folders there are follows from the properties below (partition projection).
-- Change: the bucket (twice), the chains, the first day. A query names the days that it wants, or it looks at all.

CREATE DATABASE IF NOT EXISTS sealstream;

CREATE EXTERNAL TABLE sealstream.entries (
  `body` string,
  `prev_hash` binary,
  `hash` binary,
  `seq` bigint,
  `kind` string,
  `id` string,
  `timestamp` timestamp,
  `sequenced_at` timestamp,
  `actor_id` string,
  `actor_type` string,
  `action` string,
  `resource_type` string,
  `resource_id` string,
  `result` string,
  `ip_address` string,
  `session_id` string,
  `tenant` string
)
PARTITIONED BY (`chain` string, `date` string)
STORED AS PARQUET
LOCATION 's3://audit-archive/entries/'
TBLPROPERTIES (
  'projection.enabled' = 'true',
  'projection.chain.type' = 'enum',
  'projection.chain.values' = 'main',
  'projection.date.type' = 'date',
  'projection.date.format' = 'yyyy-MM-dd',
  'projection.date.range' = '2026-01-01,NOW',
  'projection.date.interval' = '1',
  'projection.date.interval.unit' = 'DAYS',
  'storage.location.template' = 's3://audit-archive/entries/chain=${chain}/date=${date}/'
);
