-- The stored log and what a sink must remember. Run as the owner; :"sink" and the like are role names (psql's spelling).

CREATE TABLE public.audit_log (
    chain text NOT NULL,
    seq bigint NOT NULL CHECK (seq >= 0),
    kind text NOT NULL CHECK (kind IN ('event', 'control', 'log')),
    id uuid NOT NULL,
    "timestamp" timestamptz NOT NULL,
    sequenced_at timestamptz NOT NULL,
    actor_id text NOT NULL,
    actor_type text NOT NULL CHECK (actor_type IN ('user', 'service', 'admin', 'system', 'anonymous')),
    action text NOT NULL,
    resource_type text NOT NULL,
    resource_id text NOT NULL,
    result text NOT NULL CHECK (result IN ('success', 'failure', 'denied')),
    ip_address inet,
    session_id text,
    tenant text,
    body bytea NOT NULL,
    prev_hash bytea NOT NULL CHECK (octet_length(prev_hash) = 32),
    hash bytea NOT NULL CHECK (octet_length(hash) = 32),
    PRIMARY KEY (chain, seq, sequenced_at)
) PARTITION BY RANGE (sequenced_at);

COMMENT ON TABLE public.audit_log IS 'Sealed entries, append-only. body is the truth, the other columns are copies of it.';
COMMENT ON COLUMN public.audit_log."timestamp" IS 'When it happened, by the producer''s clock: a claim.';
COMMENT ON COLUMN public.audit_log.sequenced_at IS 'When the log placed it; never decreases along a chain.';

CREATE INDEX audit_log_actor ON public.audit_log (actor_id, "timestamp" DESC);
CREATE INDEX audit_log_resource ON public.audit_log (resource_type, resource_id, "timestamp" DESC);
CREATE INDEX audit_log_action ON public.audit_log (action, "timestamp" DESC);
CREATE INDEX audit_log_not_success ON public.audit_log ("timestamp" DESC, actor_id) WHERE result IN ('failure', 'denied');
CREATE INDEX audit_log_time ON public.audit_log ("timestamp" DESC);
CREATE INDEX audit_log_id ON public.audit_log (id);

CREATE TABLE public.audit_position (
    chain text PRIMARY KEY,
    next_seq bigint NOT NULL CHECK (next_seq >= 0),
    chain_offset bigint NOT NULL CHECK (chain_offset >= 0)
);

COMMENT ON TABLE public.audit_position IS 'Where a sink goes on: written in one transaction with the rows before it.';
COMMENT ON COLUMN public.audit_position.chain_offset IS 'About where entry next_seq stands in the chain''s topic: a hint.';

CREATE TABLE public.audit_checkpoint (
    chain text NOT NULL,
    size bigint NOT NULL CHECK (size > 0),
    ends_segment boolean NOT NULL,
    note bytea NOT NULL,
    compact_range bytea NOT NULL CHECK (octet_length(compact_range) % 32 = 0),
    chain_offset bigint NOT NULL CHECK (chain_offset >= 0),
    note_offset bigint NOT NULL CHECK (note_offset >= 0),
    PRIMARY KEY (chain, size, ends_segment)
);

-- The newest checkpoint is one row for each chain, moved forward; every segment's note is a row of its own.
CREATE UNIQUE INDEX audit_checkpoint_newest ON public.audit_checkpoint (chain) WHERE NOT ends_segment;

COMMENT ON TABLE public.audit_checkpoint IS 'Every segment''s signed note, and the newest checkpoint.';
COMMENT ON COLUMN public.audit_checkpoint.compact_range IS 'Roots of the perfect subtrees, 32 bytes each, largest first.';
COMMENT ON COLUMN public.audit_checkpoint.note_offset IS 'Where the note stands in its own topic: a hint.';
