-- A month built beside the log, verified, and swapped in whole: the keeper's only way to put anything right, and nobody
-- else's. While it is built nobody sees it; the swap is one transaction, so a reader sees the old month or the new one.
-- Every swap is written down, until the chain itself has sealed that it was done (store.repaired).

CREATE TABLE public.audit_repair (
    id uuid PRIMARY KEY,
    chain text NOT NULL,
    month date NOT NULL,
    first_seq bigint NOT NULL,
    last_seq bigint NOT NULL,
    reason text NOT NULL,
    replaced text,
    swapped_at timestamptz NOT NULL DEFAULT now(),
    sealed boolean NOT NULL DEFAULT false
);

COMMENT ON TABLE public.audit_repair IS 'Months that were built anew and swapped in.';
COMMENT ON COLUMN public.audit_repair.replaced IS 'The table that the old month is kept as; null: there was none, or it was dropped.';
COMMENT ON COLUMN public.audit_repair.sealed IS 'Whether store.repaired was said in the control topic.';

-- The month in which `at` lies, built for one chain: its table's name. One that was begun before is gone on with.
CREATE FUNCTION public.audit_month_begin(of_chain text, at timestamptz) RETURNS text
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET timezone = 'UTC'
    SET datestyle = 'ISO'
AS $$
DECLARE
    first_day timestamp := date_trunc('month', at AT TIME ZONE 'UTC');
    name text := 'audit_build_' || to_char(first_day, 'YYYY_MM');
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('audit_month_begin', 0));
    IF to_regclass('public.' || name) IS NOT NULL THEN
        IF obj_description(to_regclass('public.' || name), 'pg_class') IS NOT DISTINCT FROM of_chain THEN
            RETURN name;
        END IF;
        EXECUTE format('DROP TABLE public.%I', name);
    END IF;
    EXECUTE format('CREATE TABLE public.%I (LIKE public.audit_log INCLUDING ALL)', name);
    EXECUTE format('CREATE UNIQUE INDEX %I ON public.%I (chain, seq)', name || '_chain_seq', name);
    -- So that ATTACH need not read the month through while it holds its lock.
    EXECUTE format('ALTER TABLE public.%I ADD CONSTRAINT audit_build_month CHECK (sequenced_at >= %L AND sequenced_at < %L)',
                   name, first_day::text || '+00', (first_day + interval '1 month')::text || '+00');
    EXECUTE format('COMMENT ON TABLE public.%I IS %L', name, of_chain);
    EXECUTE format('GRANT SELECT, INSERT ON public.%I TO :"keeper"', name);
    RETURN name;
END;
$$;

-- Copies from the month that stands what is not built from elsewhere: the other chains' rows, and of this chain those
-- from `stop` on that its sink has stored since. Again and again, each time what is new. How many.
CREATE FUNCTION public.audit_month_fill(of_chain text, at timestamptz, stop bigint) RETURNS bigint
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET timezone = 'UTC'
AS $$
DECLARE
    month text := to_char(at AT TIME ZONE 'UTC', 'YYYY_MM');
    copied bigint := 0;
    here bigint;
    position record;
    behind bigint;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_inherits WHERE inhparent = 'public.audit_log'::regclass
                   AND inhrelid = to_regclass('public.audit_log_' || month)) THEN
        RETURN 0;
    END IF;
    FOR position IN SELECT p.chain, p.next_seq FROM public.audit_position p LOOP
        EXECUTE format('SELECT max(seq) + 1 FROM public.%I WHERE chain = $1', 'audit_build_' || month)
            INTO behind USING position.chain;
        IF position.chain = of_chain THEN
            behind := greatest(behind, stop);
        END IF;
        EXECUTE format('INSERT INTO public.%I SELECT * FROM public.%I WHERE chain = $1 AND seq >= $2 AND seq < $3',
                       'audit_build_' || month, 'audit_log_' || month)
            USING position.chain, coalesce(behind, 0), position.next_seq;
        GET DIAGNOSTICS here = ROW_COUNT;
        copied := copied + here;
    END LOOP;
    RETURN copied;
END;
$$;

-- Puts the built month in the place of the one that stands, which is kept under another name, or dropped. The rows from
-- `first` to `stop` - 1 were built and verified; those behind them must follow from them.
CREATE FUNCTION public.audit_month_swap(
    repair uuid, of_chain text, at timestamptz, first bigint, stop bigint, why text, keep boolean) RETURNS text
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
    replaced text;
    found bigint;
    index_name text;
BEGIN
    -- In the order in which a sink takes them: its position, then the log.
    LOCK TABLE public.audit_position IN SHARE ROW EXCLUSIVE MODE;
    LOCK TABLE public.audit_log IN ACCESS EXCLUSIVE MODE;
    PERFORM public.audit_month_fill(of_chain, at, stop);
    EXECUTE format('SELECT count(*) FROM public.%I WHERE chain = $1 AND seq >= $2 AND seq < $3', built)
        INTO found USING of_chain, first, stop;
    IF found <> stop - first THEN
        RAISE EXCEPTION '% holds % entries of %: expected % to %', built, found, of_chain, first, stop - 1
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    EXECUTE format(
        'SELECT min(seq) FROM (SELECT seq, prev_hash, hash, body, lag(hash) OVER (ORDER BY seq) AS before, '
        'lag(seq) OVER (ORDER BY seq) AS seq_before FROM public.%I WHERE chain = $1 AND seq >= $2 - 1) r '
        'WHERE seq >= $2 AND (seq_before IS DISTINCT FROM seq - 1 AND $2 > $3 OR before <> prev_hash '
        'OR hash <> sha256(''\x00''::bytea || prev_hash || body))', built)
        INTO found USING of_chain, stop, first;
    IF found IS NOT NULL THEN
        RAISE EXCEPTION 'entry % of %, stored meanwhile, does not follow from the one before it', found, of_chain
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF EXISTS (SELECT FROM pg_inherits WHERE inhparent = 'public.audit_log'::regclass
               AND inhrelid = to_regclass('public.' || standing)) THEN
        EXECUTE format('ALTER TABLE public.audit_log DETACH PARTITION public.%I', standing);
    END IF;
    IF to_regclass('public.' || standing) IS NOT NULL THEN
        IF keep THEN
            replaced := 'audit_replaced_' || month || '_' || left(repair::text, 8);
            FOR index_name IN SELECT indexrelid::regclass::text FROM pg_index
                              WHERE indrelid = to_regclass('public.' || standing) LOOP
                EXECUTE format('ALTER INDEX %s RENAME TO %I', index_name,
                               replace(replace(index_name, 'public.', ''), standing, replaced));
            END LOOP;
            EXECUTE format('ALTER TABLE public.%I RENAME TO %I', standing, replaced);
            EXECUTE format('GRANT SELECT ON public.%I TO :"reader", :"keeper"', replaced);
        ELSE
            EXECUTE format('DROP TABLE public.%I', standing);
        END IF;
    END IF;
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
    -- Whoever disabled them on the parent meant every month.
    ALTER TABLE public.audit_log ENABLE ALWAYS TRIGGER append_only;
    ALTER TABLE public.audit_log ENABLE ALWAYS TRIGGER no_truncate;
    INSERT INTO public.audit_repair (id, chain, month, first_seq, last_seq, reason, replaced)
        VALUES (repair, of_chain, first_day::date, first, stop - 1, why, replaced);
    RETURN replaced;
END;
$$;

-- Gives a month up that is being built.
CREATE FUNCTION public.audit_month_abandon(at timestamptz) RETURNS void
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET timezone = 'UTC'
AS $$
BEGIN
    EXECUTE format('DROP TABLE IF EXISTS public.%I', 'audit_build_' || to_char(at AT TIME ZONE 'UTC', 'YYYY_MM'));
END;
$$;

-- Drops a month that was replaced and kept.
CREATE FUNCTION public.audit_month_drop_replaced(name text) RETURNS void
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF name !~ '^audit_replaced_[0-9]{4}_[0-9]{2}_[0-9a-f]{8}$' THEN
        RAISE EXCEPTION '% is no month that was replaced', name USING ERRCODE = 'invalid_parameter_value';
    END IF;
    EXECUTE format('DROP TABLE public.%I', name);
    UPDATE public.audit_repair SET replaced = NULL WHERE replaced = name;
END;
$$;

-- Sets a chain's position to what its rows say, and makes it where it is missing. A sink that is at work starts anew.
CREATE FUNCTION public.audit_position_rebuild(of_chain text) RETURNS bigint
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    claimed bigint;
    stored bigint;
BEGIN
    INSERT INTO public.audit_position (chain, next_seq, chain_offset) VALUES (of_chain, 0, 0) ON CONFLICT DO NOTHING;
    SELECT p.next_seq INTO claimed FROM public.audit_position p WHERE p.chain = of_chain FOR UPDATE;
    SELECT coalesce(max(l.seq) + 1, 0) INTO stored FROM public.audit_log l WHERE l.chain = of_chain;
    IF claimed <> stored THEN
        ALTER TABLE public.audit_position DISABLE TRIGGER forward_only;
        UPDATE public.audit_position SET next_seq = stored WHERE chain = of_chain;
        ALTER TABLE public.audit_position ENABLE ALWAYS TRIGGER forward_only;
    END IF;
    RETURN stored;
END;
$$;

-- Puts a signed note where it belongs, or takes out one that nobody has signed (note null).
CREATE FUNCTION public.audit_note_rebuild(
    of_chain text, of_size bigint, segment boolean, note bytea, compact_range bytea, chain_offset bigint) RETURNS void
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    ALTER TABLE public.audit_checkpoint DISABLE TRIGGER no_delete;
    DELETE FROM public.audit_checkpoint c WHERE c.chain = of_chain AND c.size = of_size AND c.ends_segment = segment;
    ALTER TABLE public.audit_checkpoint ENABLE ALWAYS TRIGGER no_delete;
    IF note IS NOT NULL THEN
        INSERT INTO public.audit_checkpoint (chain, size, ends_segment, note, compact_range, chain_offset, note_offset)
            VALUES (of_chain, of_size, segment, note, compact_range, chain_offset, 0);
    END IF;
END;
$$;

-- store.repaired was said.
CREATE FUNCTION public.audit_repair_sealed(repair uuid) RETURNS void
    LANGUAGE sql
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    UPDATE public.audit_repair SET sealed = true WHERE id = repair;
END;

REVOKE ALL ON FUNCTION public.audit_month_begin(text, timestamptz),
    public.audit_month_fill(text, timestamptz, bigint),
    public.audit_month_swap(uuid, text, timestamptz, bigint, bigint, text, boolean),
    public.audit_month_abandon(timestamptz),
    public.audit_month_drop_replaced(text),
    public.audit_position_rebuild(text),
    public.audit_note_rebuild(text, bigint, boolean, bytea, bytea, bigint),
    public.audit_repair_sealed(uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.audit_month_begin(text, timestamptz),
    public.audit_month_fill(text, timestamptz, bigint),
    public.audit_month_swap(uuid, text, timestamptz, bigint, bigint, text, boolean),
    public.audit_month_abandon(timestamptz),
    public.audit_month_drop_replaced(text),
    public.audit_position_rebuild(text),
    public.audit_note_rebuild(text, bigint, boolean, bytea, bytea, bigint),
    public.audit_repair_sealed(uuid) TO :"keeper";
GRANT SELECT ON public.audit_repair TO :"reader", :"keeper";
