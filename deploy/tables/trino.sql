-- Trino with the Hive connector (a catalog `hive` on Glue or a Hive metastore, s3 as its file system). Which folders there
-- are follows from the properties below (partition projection), so nothing has to be run when a day is added.
-- Change: the catalog, the bucket (twice), the chains, the first day.

CREATE SCHEMA IF NOT EXISTS hive.sealstream;

CREATE TABLE hive.sealstream.entries (
  body varchar,
  prev_hash varbinary,
  hash varbinary,
  seq bigint,
  kind varchar,
  id varchar,
  "timestamp" timestamp(6),
  sequenced_at timestamp(6),
  actor_id varchar,
  actor_type varchar,
  action varchar,
  resource_type varchar,
  resource_id varchar,
  result varchar,
  ip_address varchar,
  session_id varchar,
  tenant varchar,
  chain varchar WITH (
    partition_projection_type = 'ENUM',
    partition_projection_values = ARRAY['main']
  ),
  "date" varchar WITH (
    partition_projection_type = 'DATE',
    partition_projection_format = 'yyyy-MM-dd',
    partition_projection_range = ARRAY['2026-01-01', 'NOW'],
    partition_projection_interval = 1,
    partition_projection_interval_unit = 'DAYS'
  )
)
WITH (
  format = 'PARQUET',
  external_location = 's3://audit-archive/entries/',
  partitioned_by = ARRAY['chain', 'date'],
  partition_projection_enabled = true,
  partition_projection_location_template = 's3://audit-archive/entries/chain=${chain}/date=${date}/'
);
