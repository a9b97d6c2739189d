"""The doctor on two real pipelines: what it says of one that runs, and of one that was let go."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource
from tests.doctor.looking import failing, later, passing, system_for, unasked
from tests.long_runs import long_run
from tests.pipeline import Pipeline, sql

from sealstream.archive import ArchiveSettings, ArchiveStore, init_bucket
from sealstream.doctor import CHECKS, System, promised
from sealstream.doctor.checks.postgres_access import judged_others
from sealstream.doctor.checks.retained import judged_months
from sealstream.events import control_statement, format_timestamp, new_event_id
from sealstream.health.asking import archived
from sealstream.layout import Retention, named_retention, retention_members
from sealstream.layout.tables import migrations
from sealstream.retention import StoredMonth
from sealstream.reviews import Cadence

pytestmark = long_run

LOG = "public.audit_log"


def with_retention(system: System, retention: Retention) -> System:
    return system._replace(chains=tuple(chain._replace(retention=retention) for chain in system.chains))


# --- a pipeline that runs -------------------------------------------------------------------------------------------


def test_of_a_pipeline_that_runs_the_chain_passes(healthy: Pipeline) -> None:
    system = system_for(healthy)
    assert "holds" in passing("chain.verified", system)
    passing("chain.signed", system)
    passing("chain.key", system)
    passing("chain.alive", system)
    passing("retention.promised", system)
    passing("retention.online", system)
    passing("input.accounted", system)
    passing("input.whole", system)
    passing("clocks.agree", system)
    passing("alerts.acknowledged", system)


def test_of_its_entries_what_is_asked_of_entries_passes(healthy: Pipeline) -> None:
    system = system_for(healthy)
    passing("entries.complete", system)
    passing("entries.ordered", system)
    passing("entries.redacted", system)
    passing("recorded.failures", system)
    passing("recorded.logins", system)
    passing("recorded.administrators", system)
    passing("recorded.life", system)


def test_of_its_archive_what_needs_no_other_machine_passes(healthy: Pipeline) -> None:
    system = system_for(healthy)
    passing("archive.object_lock", system)
    passing("archive.versioning", system)
    assert passing("archive.forbidden", system).count("was refused") == 4
    passing("archive.private", system)
    passing("archive.complete", system)
    passing("archive.whole", system)
    passing("archive.locks", system)
    assert healthy.verify("archive").exit_code == 0, "a canary is no part of the archive"
    assert archived(healthy.archive, healthy.chain).size >= 40


def test_what_postgres_refuses_it_is_seen_to_refuse(healthy: Pipeline) -> None:
    system = system_for(healthy)
    said = passing("postgres.forbidden", system._replace(dsns={**system.dsns, "admin": healthy.admin_dsn}))
    for role in ("sink", "reader", "keeper"):
        assert f"{role}: refused: UPDATE of an entry, DELETE of an entry, TRUNCATE of the log" in said
    assert "admin: refused: UPDATE of an entry, DELETE of an entry; admin: Postgres said" in said
    passing("postgres.privileges", system)
    passing("postgres.triggers", system)
    passing("postgres.authentication", system)


def test_that_the_doctor_looks_is_sealed_with_its_verdict(healthy: Pipeline) -> None:
    passing("access.recorded", system_for(healthy))
    said = healthy.command("doctor", "--control", "gdpr", "--json")
    assert said.code == 1, said.err
    healthy.wait_sealed()
    reads = [entry for entry in healthy.entries() if entry.get("metadata", {}).get("what") == "doctor"]
    begin, end = reads[-2:]
    assert (begin["metadata"]["phase"], end["metadata"]["phase"]) == ("begin", "end")
    assert begin["metadata"]["query"] == "--control gdpr"
    assert end["metadata"]["verdict"] == json.loads(said.out)["verdict"]
    assert end["metadata"]["rows"] > 100


def test_a_review_that_nobody_has_to_do_or_that_is_late_fails(healthy: Pipeline) -> None:
    system = system_for(healthy)
    passing("reviews.signed", system)
    passing("reviews.daily", system)
    assert "nobody has to review it" in failing("reviews.signed", system._replace(cadences={}))
    assert "overdue" in failing("reviews.signed", system._replace(**later(days=10)))
    failing("reviews.daily", system._replace(cadences={healthy.name: Cadence("month", 3, date(2026, 1, 1))}))


def test_what_is_late_by_the_clock_fails(healthy: Pipeline) -> None:
    ahead = system_for(healthy, **later(minutes=20))
    failing("chain.alive", ahead)
    failing("chain.signed", ahead)
    assert re.search(r"Postgres: -(1199|1200)\.", failing("clocks.agree", ahead))


def test_a_policy_is_held_against_each_regulation(healthy: Pipeline) -> None:
    system = system_for(healthy)
    failing("retention.year", system)
    failing("retention.pci", with_retention(system, named_retention("pci")._replace(online_days=31)))
    failing("retention.six_years", with_retention(system, named_retention("pci")))
    failing("retention.limited", system)
    passing("retention.year", with_retention(system, named_retention("soc2")))
    passing("retention.pci", with_retention(system, named_retention("pci")))
    passing("retention.six_years", with_retention(system, named_retention("hipaa")))
    said = failing("retention.limited", with_retention(system, named_retention("pci")))
    assert "the chain promises 1d" in said, "that all of it stays online"


def test_settings_that_keep_less_than_the_chain_promised_fail(healthy: Pipeline) -> None:
    system = system_for(healthy)
    failing("retention.promised", with_retention(system, Retention("own", archive_days=1, online_days=1)))
    longer = with_retention(system, named_retention("hipaa"))
    assert "nothing longer was promised" in passing("archive.locks", longer), "the settings alone promise nothing"
    assert "nothing is known of what was promised" in unasked("archive.locks", longer._replace(dsns={}))
    passing("archive.locks", system._replace(dsns={}))


def test_what_can_not_be_asked_is_unknown_and_never_a_pass(healthy: Pipeline) -> None:
    system = system_for(healthy, sealed_within_s=1.0)
    no_postgres = system._replace(dsns=dict.fromkeys(system.dsns, "postgresql://nobody@127.0.0.1:1/no"))
    no_archive = system._replace(archive=system.archive._replace(endpoint_url="http://127.0.0.1:1"))  # type: ignore[union-attr]
    for check in CHECKS:
        if check.startswith("postgres.") or check in ("retention.online", "recorded.life", "alerts.acknowledged"):
            unasked(check, no_postgres)
    for check in CHECKS:
        if check.startswith("archive.") and check != "archive.separate":
            unasked(check, no_archive)
    assert "is not set" in unasked("postgres.tls", system._replace(dsns={}))
    assert "is not set" in unasked("postgres.privileges", system._replace(dsns={"reader": system.dsns["reader"]}))
    assert "not on this machine" in unasked("chain.key", system._replace(key_files={}))


def test_an_archive_that_begins_later_than_the_chain_says_fails(
    healthy: Pipeline, new_bucket: ArchiveSettings, s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when somebody has deleted its first segment, whose lock was over; and when that was listed, with the next."""
    healthy.wait_archived(80)
    init_bucket(new_bucket, healthy.chain.retention)
    until = datetime.now(UTC) + timedelta(days=2)
    lock = {"ObjectLockMode": "COMPLIANCE", "ObjectLockRetainUntilDate": until}
    with closing(ArchiveStore(healthy.archive, healthy.name)) as store:
        first, *later = store.segments()
        assert later
        for each in (stored for segment in later for stored in (segment.manifest, segment.object)):
            body = store.read(each.key, each.versions[0], 2**30)
            s3.put_object(Bucket=new_bucket.bucket, Key=each.key, Body=body, **lock)
        manifest = store.read(first.manifest.key, first.manifest.versions[0], 2**20)
    begins = later[0].name.first_seq
    elsewhere = system_for(healthy, archive=new_bucket)
    said = failing("archive.whole", elsewhere)
    assert f"begins with entry {begins:,}, and not with entry 0, and no archive.destroyed" in said
    s3.put_object(Bucket=new_bucket.bucket, Key=first.manifest.key, Body=manifest, **lock)
    assert f"{first.object.key} is missing" in failing("archive.whole", elsewhere)
    items = [
        {
            "object": name.object_key,
            "object_version": "v",
            "object_sha256": "ab" * 32,
            "manifest": name.manifest_key,
            "manifest_version": "v",
            "manifest_sha256": "ab" * 32,
            "first_seq": name.first_seq,
            "last_seq": name.last_seq,
            "first_hash": "ab" * 32,
            "last_hash": "ab" * 32,
            "retain_until": format_timestamp(until),
        }
        for name in (first.name, later[0].name)
    ]
    listed = control_statement(
        "archive.destroyed",
        id=new_event_id(),
        timestamp=format_timestamp(until),
        actor_id="ann",
        actor_type="admin",
        resource_type="archive",
        resource_id="0",
        metadata={
            "first_seq": 0,
            "last_seq": later[0].name.last_seq,
            "last_hash": "ab" * 32,
            "root": "ab" * 32,
            "segments": items,
            "retention": retention_members(healthy.chain.retention),
            "reason": "over",
        },
    )
    healthy.send([listed], healthy.topics.control)
    healthy.wait_sealed()
    assert "no archive.destroyed" in failing("archive.whole", elsewhere)  # it was listed before its time
    judged = promised._was_over
    days = timedelta(days=healthy.chain.retention.archive_days + 2)
    monkeypatch.setattr(promised, "_was_over", lambda item, chain, at: judged(item, chain, at + days))
    # As if it had been sealed when the policy's time was over.
    assert f"begins with entry {begins:,}" in passing("archive.whole", elsewhere)


# --- a pipeline that was let go -------------------------------------------------------------------------------------


def test_what_its_applications_say_too_little_or_too_much_fails(let_go: Pipeline) -> None:
    system = system_for(let_go)
    assert "neither from which address" in failing("entries.complete", system)
    assert "clocks are ahead" in failing("entries.ordered", system)
    said = failing("entries.redacted", system)
    assert "in metadata" in said
    assert "4111" not in said
    failing("recorded.failures", system)
    failing("recorded.logins", system)
    failing("recorded.administrators", system)


def test_what_was_refused_or_never_came_fails(let_go: Pipeline) -> None:
    system = system_for(let_go)
    assert "1 wait for somebody" in failing("input.accounted", system)
    assert "1 numbers are missing" in failing("input.whole", system)


def test_a_reading_that_is_not_sealed_fails(let_go: Pipeline) -> None:
    assert "not sealed within 1 s" in failing("access.recorded", system_for(let_go, sealed_within_s=1.0))


def test_that_nobody_watches_fails(let_go: Pipeline) -> None:
    system = system_for(let_go)
    failing("watch.activity", system)
    failing("watch.detectors", system)
    failing("watch.pipeline", system)
    assert "no target" in failing("alerts.forwarded", system)
    failing("alerts.forwarded", system._replace(targets=("siem",)))


def test_an_archive_that_lags_or_in_which_something_is_hidden_fails(let_go: Pipeline) -> None:
    system = system_for(let_go, **later(hours=1))
    failing("archive.complete", system)
    archive = let_go.archive
    s3 = boto3.client(
        "s3",
        endpoint_url=archive.endpoint_url,
        region_name=archive.region,
        aws_access_key_id=archive.access_key,
        aws_secret_access_key=archive.secret_key,
    )
    key = next(each["Key"] for each in s3.list_objects_v2(Bucket=archive.bucket, Prefix="manifests/")["Contents"])
    s3.delete_object(Bucket=archive.bucket, Key=key)
    assert "hidden by a delete marker" in failing("archive.whole", system)


def test_a_row_that_was_changed_fails_verification(let_go: Pipeline) -> None:
    system = system_for(let_go)
    with changed(let_go, "UPDATE {log} SET actor_id = actor_id || '!' WHERE seq = 9", undo="rtrim(actor_id, '!')"):
        assert "edited 9" in failing("chain.verified", system)


@contextmanager
def changed(pipeline: Pipeline, statement: str, undo: str) -> Iterator[None]:
    """By a superuser, who puts the triggers aside."""
    aside = f"ALTER TABLE {LOG} {{}} TRIGGER append_only"
    sql(pipeline.admin_dsn, aside.format("DISABLE"))
    sql(pipeline.admin_dsn, statement.format(log=LOG))
    try:
        yield
    finally:
        sql(pipeline.admin_dsn, f"UPDATE {LOG} SET actor_id = {undo} WHERE seq = 9")
        sql(pipeline.admin_dsn, aside.format("ENABLE ALWAYS"))


def test_a_right_of_anybody_else_or_on_one_column_alone_fails(let_go: Pipeline) -> None:
    system, who = system_for(let_go), f"somebody_{new_event_id()[-12:]}"
    owner = sql(let_go.admin_dsn, f"SELECT relowner::regrole::text AS name FROM pg_class WHERE oid = '{LOG}'::regclass")
    member = f"GRANT {owner[0]['name']} TO {who} WITH INHERIT FALSE, SET TRUE"
    rights = [f"GRANT {right} ON {LOG} TO {who}" for right in ("DELETE", "UPDATE (body)", "INSERT", "TRIGGER")]
    become = f"GRANT pg_write_all_data TO {who}"
    for makes_roles, given in [*(("CREATEROLE", right) for right in (*rights, become)), ("", member)]:
        sql(let_go.admin_dsn, f"CREATE ROLE {who} LOGIN NOINHERIT {makes_roles}")
        sql(let_go.admin_dsn, given)
        try:
            assert f"{who} may change" in failing("postgres.privileges", system)
            if given == member:
                sql(let_go.admin_dsn, f"ALTER ROLE {who} CREATEROLE")
                assert f"but {who}, who may make roles" in passing("postgres.privileges", system)
        finally:
            sql(let_go.admin_dsn, f"DROP OWNED BY {who}")
            sql(let_go.admin_dsn, f"DROP ROLE {who}")
    passing("postgres.privileges", system)


_SWAP = "FUNCTION public.audit_month_swap(uuid, text, timestamptz, bigint, bigint, text, boolean)"
_NOTE = "FUNCTION public.audit_note_rebuild(text, bigint, boolean, bytea, bytea, bigint)"
_EXPIRE = "FUNCTION public.audit_month_expire(text, timestamptz, bigint, bigint, uuid)"


def test_what_the_keeper_alone_may_do_and_another_may_too_fails(let_go: Pipeline) -> None:
    system, who = system_for(let_go), f"somebody_{new_event_id()[-12:]}"
    (keeper, sink) = (str(urlsplit(system.dsns[role]).username) for role in ("keeper", "sink"))
    for what, to, named in (
        (keeper, who, f"{who} (all of them)"),
        (f"EXECUTE ON {_SWAP}", who, f"{who} (audit_month_swap)"),
        (f"EXECUTE ON {_NOTE}", "PUBLIC", "PUBLIC (audit_note_rebuild)"),
        (f"EXECUTE ON {_EXPIRE}", sink, f"{sink} (audit_month_expire)"),
    ):
        sql(let_go.admin_dsn, f"CREATE ROLE {who} LOGIN NOINHERIT")
        sql(let_go.admin_dsn, f"GRANT {what} TO {to}")
        try:
            for asked in (system, system._replace(dsns={"reader": system.dsns["reader"]})):
                said = failing("postgres.privileges", asked)
                assert named in said, (what, said)
                assert f"{keeper} (" not in said
        finally:
            sql(let_go.admin_dsn, f"REVOKE {what} FROM {to}")
            sql(let_go.admin_dsn, f"DROP ROLE {who}")
    passing("postgres.privileges", system)


def test_who_makes_roles_is_no_fault_for_being_able_to_become_the_keeper(let_go: Pipeline) -> None:
    """As it is where a superuser is nobody's: who makes a role is a member of it, by ADMIN OPTION."""
    system, who = system_for(let_go), f"somebody_{new_event_id()[-12:]}"
    keeper = urlsplit(system.dsns["keeper"]).username
    sql(let_go.admin_dsn, f"CREATE ROLE {who} LOGIN CREATEROLE")
    sql(let_go.admin_dsn, f"GRANT {keeper} TO {who} WITH ADMIN TRUE, INHERIT FALSE, SET FALSE")
    try:
        assert f"but {who}, who may make roles" in passing("postgres.privileges", system)
        sql(let_go.admin_dsn, f"ALTER ROLE {who} NOCREATEROLE")
        assert f"{who} (all of them)" in failing("postgres.privileges", system)
    finally:
        sql(let_go.admin_dsn, f"REVOKE {keeper} FROM {who}")
        sql(let_go.admin_dsn, f"DROP ROLE {who}")


def test_an_administrator_is_named_and_is_no_fault() -> None:
    rows = [{"name": "rds_admin", "administrator": True}]
    assert "but rds_admin, who may make roles" in passing("postgres.privileges", judged_others(rows))
    failing("postgres.privileges", judged_others([*rows, {"name": "dba", "administrator": False}]))


def test_a_trigger_that_is_put_aside_and_a_right_that_was_given_fail(let_go: Pipeline) -> None:
    system = system_for(let_go)
    reader = urlsplit(let_go.reader_dsn).username
    sql(let_go.admin_dsn, f"GRANT UPDATE, DELETE ON {LOG} TO {reader}")
    try:
        assert f"{reader} may UPDATE, DELETE" in failing("postgres.privileges", system)
        passing("postgres.forbidden", system)  # the triggers refuse it all the same
        sql(let_go.admin_dsn, f"ALTER TABLE {LOG} DISABLE TRIGGER append_only")
        assert "lacks append_only" in failing("postgres.triggers", system)
        before = sql(let_go.admin_dsn, f"SELECT count(*), sum(hashtext(body::text)) FROM {LOG}")
        said = failing("postgres.forbidden", system)
        assert "reader: went through, and was rolled back: UPDATE of an entry (1 rows), DELETE of an entry" in said
        assert sql(let_go.admin_dsn, f"SELECT count(*), sum(hashtext(body::text)) FROM {LOG}") == before
    finally:
        sql(let_go.admin_dsn, f"REVOKE UPDATE, DELETE ON {LOG} FROM {reader}")
        sql(let_go.admin_dsn, f"ALTER TABLE {LOG} ENABLE ALWAYS TRIGGER append_only")
    failing("postgres.privileges", system._replace(dsns={**system.dsns, "sink": let_go.admin_dsn}))


_LETS_PASS = """CREATE OR REPLACE FUNCTION public.audit_refuse() RETURNS trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp AS $$ BEGIN RETURN coalesce(NEW, OLD); END; $$"""
_FOR_NONE = f"""DROP TRIGGER append_only ON {LOG};
    CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON {LOG} FOR EACH ROW WHEN (OLD.seq < 0)
        EXECUTE FUNCTION public.audit_refuse();
    ALTER TABLE {LOG} ENABLE ALWAYS TRIGGER append_only"""
_RIGHT = f"""DROP TRIGGER append_only ON {LOG};
    CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON {LOG} FOR EACH ROW EXECUTE FUNCTION public.audit_refuse();
    ALTER TABLE {LOG} ENABLE ALWAYS TRIGGER append_only"""
_BACKWARD = "ALTER TABLE public.audit_position DISABLE TRIGGER forward_only"


@pytest.mark.parametrize(
    ("broken", "said", "mended"),
    [
        (_LETS_PASS, "audit_refuse() is not this release's: BEGIN RETURN", ""),
        (_FOR_NONE, "append_only on audit_log is not this release's: CREATE TRIGGER", _RIGHT),
        (_BACKWARD, "audit_position lacks forward_only (ENABLE ALWAYS)", _BACKWARD.replace("DISABLE", "ENABLE ALWAYS")),
    ],
)
def test_a_trigger_of_the_right_name_that_refuses_nothing_fails(
    let_go: Pipeline, broken: str, said: str, mended: str
) -> None:
    released = migrations()[1].sql
    function = released[released.index("CREATE FUNCTION") : released.index("$$;") + 3]
    try:
        for statement in broken.split(";\n"):
            sql(let_go.admin_dsn, statement)
        assert said in failing("postgres.triggers", system_for(let_go))
    finally:
        for statement in [function.replace("CREATE", "CREATE OR REPLACE", 1), *mended.split(";\n")]:
            if statement:
                sql(let_go.admin_dsn, statement)
    passing("postgres.triggers", system_for(let_go))


def test_a_topic_that_deletes_by_itself_and_rows_that_are_gone_fail(let_go: Pipeline) -> None:
    system = system_for(let_go)
    admin = AdminClient({"bootstrap.servers": let_go.kafka.bootstrap})

    def set_retention(value: str) -> None:
        entry = ConfigEntry("retention.ms", value, incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ConfigResource.Type.TOPIC, let_go.topics.raw, incremental_configs=[entry])
        admin.incremental_alter_configs([resource])[resource].result(10)

    set_retention("86400000")
    assert "deletes by itself" in failing("retention.online", system)
    set_retention("-1")
    passing("retention.online", system)
    sql(let_go.admin_dsn, f"ALTER TABLE {LOG} DISABLE TRIGGER append_only")
    sql(let_go.admin_dsn, f"DELETE FROM {LOG} WHERE seq < 3")
    sql(let_go.admin_dsn, f"ALTER TABLE {LOG} ENABLE ALWAYS TRIGGER append_only")
    assert "lacks entries 0 to 2, which no store.expired let go" in failing("retention.online", system)
    failing("recorded.life", system)


def test_months_are_held_against_each_other_and_what_the_chain_let_go() -> None:
    months = [StoredMonth("2026-02", 40, 59), StoredMonth("2026-03", 60, 99), StoredMonth("2026-06", 100, 120)]
    left = {"store": "postgres", "first_seq": 0, "last_seq": 39}
    passing("retention.online", judged_months(months, [left]))
    destroyed = {"first_seq": 0, "last_seq": 99, "segments": [{"last_seq": 19}, {"last_seq": 39}]}
    assert "is destroyed" in passing("retention.online", judged_months(months, [destroyed]))
    passing("retention.online", judged_months([StoredMonth("2026-02", 0, 59), *months[1:]], []))
    listed_only_higher = destroyed | {"segments": [{"last_seq": 99}]}
    others = [left | {"last_seq": 38}, left | {"last_seq": 40}, left | {"store": "kafka"}, listed_only_higher]
    for other in ([], *([each] for each in others)):
        assert "entries 0 to 39" in failing("retention.online", judged_months(months, other))
    hole = failing("retention.online", judged_months([months[0], months[2]], [left]))
    assert "entries 60 to 99, between 2026-02 and 2026-06" in hole


def test_an_alert_that_nobody_looks_into_fails_in_time(healthy: Pipeline) -> None:
    statement = control_statement(
        "alert.raised",
        id=new_event_id(),
        timestamp=format_timestamp(system_for(healthy).clock()),
        actor_id="sealstream/anomaly",
        resource_type="actor",
        resource_id="user-1",
        metadata={
            "detector": "mass_read",
            "subject_kind": "actor",
            "severity": "high",
            "confidence": 0.9,
            "summary": "read 900 records",
            "window": ["2026-11-24T03:00:00.000000Z", "2026-11-24T04:00:00.000000Z"],
            "incident": new_event_id(),
        },
    )
    healthy.send([statement], healthy.topics.control)
    healthy.wait_stored(healthy.wait_sealed())
    system = system_for(healthy)
    passing("alerts.acknowledged", system)
    assert "1 for too long" in failing("alerts.acknowledged", system._replace(**later(days=2)))


# --- files ----------------------------------------------------------------------------------------------------------


def test_secrets_that_others_can_read_fail(let_go: Pipeline) -> None:
    system = system_for(let_go)
    passing("secrets.files", system)
    let_go.config.chmod(0o644)
    assert "mode 0644" in failing("secrets.files", system)
    let_go.config.chmod(0o600)
    failing("secrets.files", system._replace(secret_variables=("SEALSTREAM_KAFKA__PASSWORD",)))
    (key,) = system.key_files.values()
    key.chmod(0o640)
    failing("chain.key", system)
    key.chmod(0o600)


def test_a_token_that_never_ends_fails(healthy: Pipeline) -> None:
    system = system_for(healthy)
    passing("secrets.credentials", system)
    said = healthy.command("tokens", "create", "siem", "--chain", healthy.name, "--expires", "never")
    assert said.code == 0, said.err
    assert "token siem" in failing("secrets.credentials", system)


# --- what Postgres has not yet ----------------------------------------------------------------------------------------


def test_a_postgres_that_holds_nothing_or_lags_is_no_answer_to_what_was_said(healthy: Pipeline, database: str) -> None:
    system = system_for(healthy)
    nothing = system._replace(dsns={"reader": database})
    for check in ("retention.promised", "alerts.acknowledged", "reviews.signed"):
        assert "holds no entry" in unasked(check, nothing)
    passing("retention.promised", system)
    healthy.stop("postgres-sink")
    extended = control_statement(
        "retention.extended",
        id=new_event_id(),
        timestamp=format_timestamp(system.clock()),
        actor_id="ann",
        actor_type="admin",
        resource_type="chain",
        resource_id=healthy.name,
        metadata={
            "from": retention_members(healthy.chain.retention),
            "to": retention_members(named_retention("6y")),
        },
    )
    healthy.send([extended], healthy.topics.control)
    healthy.wait_sealed()
    assert "the chain promises 6y" in failing("retention.promised", system_for(healthy))
