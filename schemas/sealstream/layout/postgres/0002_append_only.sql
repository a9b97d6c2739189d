-- Nothing that was stored changes: refused by triggers that fire for everybody, also for a superuser and under
-- session_replication_role = replica (ENABLE ALWAYS). Row triggers reach every partition, whichever table a statement
-- names; TRUNCATE triggers do not, so each month gets its own when it is made (0003).

CREATE FUNCTION public.audit_refuse() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION '% of % is refused: the audit log is append-only', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation';
END;
$$;

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON public.audit_log
    FOR EACH ROW EXECUTE FUNCTION public.audit_refuse();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON public.audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION public.audit_refuse();
ALTER TABLE public.audit_log ENABLE ALWAYS TRIGGER append_only;
ALTER TABLE public.audit_log ENABLE ALWAYS TRIGGER no_truncate;

-- A position moves forward only.
CREATE TRIGGER forward_only BEFORE UPDATE ON public.audit_position
    FOR EACH ROW WHEN (NEW.chain <> OLD.chain OR NEW.next_seq < OLD.next_seq)
    EXECUTE FUNCTION public.audit_refuse();
CREATE TRIGGER no_delete BEFORE DELETE ON public.audit_position
    FOR EACH ROW EXECUTE FUNCTION public.audit_refuse();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON public.audit_position
    FOR EACH STATEMENT EXECUTE FUNCTION public.audit_refuse();
ALTER TABLE public.audit_position ENABLE ALWAYS TRIGGER forward_only;
ALTER TABLE public.audit_position ENABLE ALWAYS TRIGGER no_delete;
ALTER TABLE public.audit_position ENABLE ALWAYS TRIGGER no_truncate;

-- A segment's note stays as it is; the newest checkpoint moves forward only.
CREATE TRIGGER forward_only BEFORE UPDATE ON public.audit_checkpoint
    FOR EACH ROW WHEN (OLD.ends_segment OR NEW.ends_segment OR NEW.chain <> OLD.chain OR NEW.size < OLD.size)
    EXECUTE FUNCTION public.audit_refuse();
CREATE TRIGGER no_delete BEFORE DELETE ON public.audit_checkpoint
    FOR EACH ROW EXECUTE FUNCTION public.audit_refuse();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON public.audit_checkpoint
    FOR EACH STATEMENT EXECUTE FUNCTION public.audit_refuse();
ALTER TABLE public.audit_checkpoint ENABLE ALWAYS TRIGGER forward_only;
ALTER TABLE public.audit_checkpoint ENABLE ALWAYS TRIGGER no_delete;
ALTER TABLE public.audit_checkpoint ENABLE ALWAYS TRIGGER no_truncate;

REVOKE ALL ON FUNCTION public.audit_refuse() FROM PUBLIC;
