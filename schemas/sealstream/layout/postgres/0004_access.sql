-- Who may do what: the sink inserts and moves its position and the newest checkpoint, the reader reads, the keeper has
-- no more than the reader until there is a month to drop or to swap.

-- The event as JSON, for people's own queries.
CREATE VIEW public.audit_event WITH (security_invoker = true) AS
    SELECT chain, seq, kind, id, "timestamp", sequenced_at, actor_id, actor_type, action, resource_type, resource_id,
           result, ip_address, session_id, tenant, convert_from(body, 'UTF8')::jsonb AS event
    FROM public.audit_log;

-- The last stored entry: all of the bodies that a sink, which continues the chain, has to see.
CREATE FUNCTION public.audit_log_last(of_chain text)
    RETURNS TABLE (seq bigint, body bytea, prev_hash bytea, hash bytea)
    LANGUAGE sql STABLE
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT l.seq, l.body, l.prev_hash, l.hash FROM public.audit_log l
    WHERE l.chain = of_chain ORDER BY l.seq DESC LIMIT 1;
END;

REVOKE ALL ON FUNCTION public.audit_log_last(text) FROM PUBLIC;

ALTER DEFAULT PRIVILEGES REVOKE ALL ON TABLES FROM PUBLIC;
ALTER DEFAULT PRIVILEGES REVOKE ALL ON FUNCTIONS FROM PUBLIC;
ALTER DEFAULT PRIVILEGES REVOKE ALL ON TYPES FROM PUBLIC;

GRANT INSERT, SELECT (chain, seq, hash) ON public.audit_log TO :"sink";
GRANT SELECT, INSERT, UPDATE (next_seq, chain_offset) ON public.audit_position TO :"sink";
GRANT SELECT, INSERT, UPDATE (size, note, compact_range, chain_offset, note_offset) ON public.audit_checkpoint TO :"sink";
GRANT EXECUTE ON FUNCTION public.audit_log_add_month(timestamptz), public.audit_log_last(text) TO :"sink";

GRANT SELECT ON public.audit_log, public.audit_event, public.audit_position, public.audit_checkpoint
    TO :"reader", :"keeper";
GRANT SELECT ON public.audit_migration TO :"sink", :"reader", :"keeper";
