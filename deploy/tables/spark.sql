-- Spark 3.5 or 4: the archive as a table. Spark finds new days when it is told to: repeat the last statement.
-- Change: the address, here and where you run it: s3a://bucket/entries for a cluster with hadoop-aws, or a folder that
-- `sealstream archive copy` made.

SET TIME ZONE 'UTC';

CREATE DATABASE IF NOT EXISTS sealstream;

CREATE TABLE IF NOT EXISTS sealstream.entries (
  body STRING,
  prev_hash BINARY,
  hash BINARY,
  seq BIGINT,
  kind STRING,
  id STRING,
  timestamp TIMESTAMP,
  sequenced_at TIMESTAMP,
  actor_id STRING,
  actor_type STRING,
  action STRING,
  resource_type STRING,
  resource_id STRING,
  result STRING,
  ip_address STRING,
  session_id STRING,
  tenant STRING,
  chain STRING,
  date DATE
)
USING PARQUET
PARTITIONED BY (chain, date)
LOCATION 's3a://audit-archive/entries';

MSCK REPAIR TABLE sealstream.entries;
