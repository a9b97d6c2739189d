-- Months that have left stay away; no other may leave until the function is made again.

DROP FUNCTION public.audit_month_expire(text, timestamptz, bigint, bigint, uuid);
