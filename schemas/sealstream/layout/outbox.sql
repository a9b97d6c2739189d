-- Sealstream's outbox: audit events that wait in the application's own database, for PostgreSQL 13 and newer.
--
-- The application inserts into :table inside its own transactions and needs no other right. The relay sends
-- what was committed to Kafka and deletes it again. Repeatable: what exists is left as it is.

CREATE TABLE IF NOT EXISTS :table (
    -- Stands before id: a transaction has its number before any of its rows has one. So once all transactions below a
    -- number have ended, no row can appear any more among the ids that were seen before that number was given.
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event bytea NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000, autovacuum_vacuum_cost_delay = 0);

-- The relay's own tables. One numbered stream at a time; a stream's numbers begin with 0 and have no gaps.
CREATE TABLE IF NOT EXISTS :stream (
    producer_id text PRIMARY KEY,
    next bigint NOT NULL DEFAULT 0,
    begun_at timestamptz NOT NULL DEFAULT now(),
    used_at timestamptz NOT NULL DEFAULT now(),
    closed_at timestamptz
);

CREATE TABLE IF NOT EXISTS :relay (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    outbox_id uuid NOT NULL DEFAULT gen_random_uuid(),
    holder uuid,
    -- Where it goes, and in which database it was when it last went there.
    origin text,
    topic text,
    topic_id text,
    database text,
    -- Everything that this outbox has sent below this offset of the topic is known here.
    raw_offset bigint NOT NULL DEFAULT 0,
    -- The stream that the next events join; null: a new one.
    producer_id text REFERENCES :stream,
    -- The events that are on their way: runs of ids, numbered from batch_first in the order of ids.
    batch_producer_id text REFERENCES :stream,
    batch_first bigint NOT NULL DEFAULT 0,
    batch_firsts bigint[] NOT NULL DEFAULT '{}',
    batch_lasts bigint[] NOT NULL DEFAULT '{}',
    relayed bigint NOT NULL DEFAULT 0,
    relayed_at timestamptz
);
INSERT INTO :relay DEFAULT VALUES ON CONFLICT DO NOTHING;

-- What was inserted and is no event; the log holds an audit.loss for it.
CREATE TABLE IF NOT EXISTS :refused (
    id bigint PRIMARY KEY,
    event bytea NOT NULL,
    reason text NOT NULL,
    refused_at timestamptz NOT NULL DEFAULT now()
);
