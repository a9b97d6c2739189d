DO $do$
DECLARE
    of_function regprocedure := 'public.audit_month_expire(text, timestamptz, bigint, bigint, uuid)';
BEGIN
    EXECUTE regexp_replace(pg_get_functiondef(of_function), 'AND l\.seq > last\n.*?LIMIT 1;', 'AND l.seq > last;');
END;
$do$;
