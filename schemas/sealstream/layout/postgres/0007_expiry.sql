-- A month leaves when its online time is over: one chain's entries of it, and the table with them unless other chains
-- have entries in it. The chain must have sealed before that it would (store.expired), in a row that stands here: so a
-- month that is gone without such a statement was taken by somebody else. True: the whole table went.

CREATE FUNCTION public.audit_month_expire(
    of_chain text, at timestamptz, first bigint, last bigint, statement uuid) RETURNS boolean
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET timezone = 'UTC'
    SET datestyle = 'ISO'
AS $$
DECLARE
    first_day timestamp := date_trunc('month', at AT TIME ZONE 'UTC');
    month text := to_char(first_day, 'YYYY_MM');
    built text := 'audit_build_' || month;
    standing text := 'audit_log_' || month;
    said jsonb;
    low bigint;
    high bigint;
    found bigint;
    shared boolean;
    others bigint;
    copied bigint;
    end_hash text;
    index_name text;
BEGIN
    -- In the order in which a sink takes them: its position, then the log.
    LOCK TABLE public.audit_position IN SHARE ROW EXCLUSIVE MODE;
    LOCK TABLE public.audit_log IN ACCESS EXCLUSIVE MODE;
    IF first_day + interval '1 month' > now() AT TIME ZONE 'UTC' THEN
        RAISE EXCEPTION 'month % is not over', month USING ERRCODE = 'invalid_parameter_value';
    END IF;
    SELECT convert_from(l.body, 'UTF8')::jsonb -> 'metadata' INTO said FROM public.audit_log l
        WHERE l.chain = of_chain AND l.id = statement AND l.kind = 'control' AND l.action = 'store.expired'
        AND l.seq > last;
    IF said IS NULL OR said ->> 'store' <> 'postgres' OR (said ->> 'first_seq')::numeric <> first
        OR (said ->> 'last_seq')::numeric <> last THEN
        RAISE EXCEPTION 'no store.expired of entries % to % of % is stored', first, last, of_chain
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NOT EXISTS (SELECT FROM pg_inherits WHERE inhparent = 'public.audit_log'::regclass
                   AND inhrelid = to_regclass('public.' || standing)) THEN
        RAISE EXCEPTION 'there is no month %', month USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF EXISTS (SELECT FROM public.audit_log l WHERE l.chain = of_chain AND l.seq < first) THEN
        RAISE EXCEPTION 'entries of % before % are stored: months leave in order', of_chain, first
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    -- By the index alone, since nobody reads or writes the log meanwhile; the rows between were hashed before.
    EXECUTE format('SELECT min(seq), max(seq) FROM public.%I WHERE chain = $1', standing)
        INTO low, high USING of_chain;
    EXECUTE format('SELECT encode(hash, ''hex'') FROM public.%I WHERE chain = $1 AND seq = $2', standing)
        INTO end_hash USING of_chain, last;
    IF low IS DISTINCT FROM first OR high IS DISTINCT FROM last OR end_hash IS DISTINCT FROM said ->> 'last_hash' THEN
        RAISE EXCEPTION '% holds entries % to % of %: expected % to %, and the last as store.expired says', standing,
            low, high, of_chain, first, last USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    EXECUTE format('SELECT EXISTS (SELECT FROM public.%1$I WHERE chain < $1) '
                   'OR EXISTS (SELECT FROM public.%1$I WHERE chain > $1)', standing) INTO shared USING of_chain;
    IF NOT shared THEN
        EXECUTE format('ALTER TABLE public.audit_log DETACH PARTITION public.%I', standing);
        EXECUTE format('DROP TABLE public.%I', standing);
        EXECUTE format('DROP TABLE IF EXISTS public.%I', built);
        RETURN true;
    END IF;
    -- Other chains stay: their rows were copied into a month that was begun for this chain (audit_month_begin).
    PERFORM public.audit_month_fill(of_chain, at, last + 1);
    EXECUTE format('SELECT count(*) FROM public.%I WHERE chain <> $1', standing) INTO others USING of_chain;
    EXECUTE format('SELECT count(*) FILTER (WHERE chain <> $1), count(*) FILTER (WHERE chain = $1) FROM public.%I', built)
        INTO copied, found USING of_chain;
    IF copied <> others OR found <> 0 THEN
        RAISE EXCEPTION '% holds % entries of other chains and % of %: expected % and none', built, copied, found,
            of_chain, others USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    EXECUTE format('ALTER TABLE public.audit_log DETACH PARTITION public.%I', standing);
    EXECUTE format('DROP TABLE public.%I', standing);
    FOR index_name IN SELECT indexrelid::regclass::text FROM pg_index
                      WHERE indrelid = to_regclass('public.' || built) LOOP
        EXECUTE format('ALTER INDEX %s RENAME TO %I', index_name,
                       replace(replace(index_name, 'public.', ''), built, standing));
    END LOOP;
    EXECUTE format('ALTER TABLE public.%I RENAME TO %I', built, standing);
    EXECUTE format('COMMENT ON TABLE public.%I IS NULL', standing);
    EXECUTE format('REVOKE ALL ON public.%I FROM :"keeper"', standing);
    EXECUTE format('CREATE TRIGGER no_truncate BEFORE TRUNCATE ON public.%I '
                   'FOR EACH STATEMENT EXECUTE FUNCTION public.audit_refuse()', standing);
    EXECUTE format('ALTER TABLE public.audit_log ATTACH PARTITION public.%I FOR VALUES FROM (%L) TO (%L)', standing,
                   first_day::text || '+00', (first_day + interval '1 month')::text || '+00');
    EXECUTE format('ALTER TABLE public.%I ENABLE ALWAYS TRIGGER append_only', standing);
    EXECUTE format('ALTER TABLE public.%I ENABLE ALWAYS TRIGGER no_truncate', standing);
    EXECUTE format('ALTER TABLE public.%I DROP CONSTRAINT audit_build_month', standing);
    RETURN false;
END;
$$;

REVOKE ALL ON FUNCTION public.audit_month_expire(text, timestamptz, bigint, bigint, uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.audit_month_expire(text, timestamptz, bigint, bigint, uuid) TO :"keeper";
