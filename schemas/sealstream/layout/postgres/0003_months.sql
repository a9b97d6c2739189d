-- A month of the log, in UTC whatever the session's time zone: made when its first entry comes, in that transaction.
-- Built beside and attached: ATTACH lets readers and other sinks go on, where CREATE ... PARTITION OF locks them out.

CREATE FUNCTION public.audit_log_add_month(at timestamptz) RETURNS void
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET timezone = 'UTC'
    SET datestyle = 'ISO'
AS $$
DECLARE
    first_day timestamp := date_trunc('month', at AT TIME ZONE 'UTC');
    name text := 'audit_log_' || to_char(first_day, 'YYYY_MM');
BEGIN
    IF at IS NULL OR first_day < '0001-01-01' OR first_day >= '10000-01-01' THEN
        RAISE EXCEPTION 'no month of the log for %: expected a time of the years 0001 to 9999', at
            USING ERRCODE = 'datetime_field_overflow';
    END IF;
    IF EXISTS (SELECT FROM pg_inherits
               WHERE inhparent = 'public.audit_log'::regclass AND inhrelid = to_regclass('public.' || name)) THEN
        RETURN;
    END IF;
    -- One at a time, until the end of the transaction: who waited here finds the month of the one before.
    PERFORM pg_advisory_xact_lock(hashtextextended('audit_log_add_month', 0));
    IF EXISTS (SELECT FROM pg_inherits
               WHERE inhparent = 'public.audit_log'::regclass AND inhrelid = to_regclass('public.' || name)) THEN
        RETURN;
    END IF;
    EXECUTE format('CREATE TABLE public.%I (LIKE public.audit_log INCLUDING ALL)', name);
    EXECUTE format('CREATE UNIQUE INDEX %I ON public.%I (chain, seq)', name || '_chain_seq', name);
    EXECUTE format('CREATE TRIGGER no_truncate BEFORE TRUNCATE ON public.%I '
                   'FOR EACH STATEMENT EXECUTE FUNCTION public.audit_refuse()', name);
    EXECUTE format('ALTER TABLE public.audit_log ATTACH PARTITION public.%I FOR VALUES FROM (%L) TO (%L)', name,
                   first_day::text || '+00', (first_day + interval '1 month')::text || '+00');
    EXECUTE format('ALTER TABLE public.%I ENABLE ALWAYS TRIGGER append_only', name);
    EXECUTE format('ALTER TABLE public.%I ENABLE ALWAYS TRIGGER no_truncate', name);
END;
$$;

REVOKE ALL ON FUNCTION public.audit_log_add_month(timestamptz) FROM PUBLIC;
