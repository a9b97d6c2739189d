-- The id of a store.expired follows from its month, so whoever may write to the control topic can have another one sealed
-- with it, before: of all that have the id, one counts that says what is asked.

DO $do$
DECLARE
    of_function regprocedure := 'public.audit_month_expire(text, timestamptz, bigint, bigint, uuid)';
    known text := 'AND l.seq > last;';
BEGIN
    IF position(known IN pg_get_functiondef(of_function)) = 0 THEN
        RAISE EXCEPTION 'audit_month_expire is not what 0007 made it';
    END IF;
    EXECUTE replace(pg_get_functiondef(of_function), known, $new$AND l.seq > last
        AND convert_from(l.body, 'UTF8')::jsonb -> 'metadata' @> jsonb_build_object(
            'store', 'postgres', 'first_seq', first, 'last_seq', last, 'last_hash',
            (SELECT encode(e.hash, 'hex') FROM public.audit_log e WHERE e.chain = of_chain AND e.seq = last))
        ORDER BY l.seq LIMIT 1;$new$);
END;
$do$;
