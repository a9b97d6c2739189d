-- Indexes for searches. What an actor's, a resource's or an action's name begins with is found by the same index as the
-- whole name: pattern operators compare bytes, whatever the database's collation, and answer equality just as well. Two
-- are added: where from, and the few entries that no application sent.

DROP INDEX public.audit_log_actor;
DROP INDEX public.audit_log_resource;
DROP INDEX public.audit_log_action;
CREATE INDEX audit_log_actor ON public.audit_log (actor_id text_pattern_ops, "timestamp" DESC);
CREATE INDEX audit_log_resource ON public.audit_log
    (resource_type text_pattern_ops, resource_id text_pattern_ops, "timestamp" DESC);
CREATE INDEX audit_log_action ON public.audit_log (action text_pattern_ops, "timestamp" DESC);

CREATE INDEX audit_log_ip ON public.audit_log (ip_address, "timestamp" DESC) WHERE ip_address IS NOT NULL;
CREATE INDEX audit_log_own ON public.audit_log ("timestamp" DESC) WHERE kind IN ('control', 'log');
