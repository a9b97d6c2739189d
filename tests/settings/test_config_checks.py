"""What `config check` makes of what it was told: pure, so that every verdict is tried without a server."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from tests.pipeline import say

from sealstream.checkpointing import create_key
from sealstream.cli.check_archive import judged_retention
from sealstream.cli.check_files import check_keys
from sealstream.cli.check_kafka import judged_permissions, judged_topics
from sealstream.cli.check_postgres import judged
from sealstream.cli.config import reference_text
from sealstream.cli.findings import Finding, any_wrong, found_by, ok
from sealstream.cli.settings import Settings, write_settings
from sealstream.errors import Unavailable
from sealstream.kafka import CLIENTS, permissions
from sealstream.kafka.inspecting import TopicView
from sealstream.layout import ChainTopics, sequencer_group
from sealstream.layout.activity import ActivityTopics
from sealstream.layout.workers import WorkerTopics, worker_group
from sealstream.settings import read

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"
TOPICS = ChainTopics.of("main")
SHARED = (*ActivityTopics.of(), *WorkerTopics.of())
GROUPS = (sequencer_group(), worker_group())
EVERYTHING = frozenset({"READ", "WRITE", "DELETE", "DESCRIBE", "DESCRIBE_CONFIGS"})
ALL = {name: TopicView(True, (), EVERYTHING) for name in TOPICS}
GROUP = {sequencer_group(): frozenset({"READ"})}


def only(findings: list[Finding]) -> Finding:
    """The one finding."""
    (finding,) = findings
    return finding


def test_topics_that_are_right_are_said_to_be() -> None:
    assert only(judged_topics("main", TOPICS, ALL)).said == (
        "7 of 7 topics are there, with one partition and the right cleanup"
    )


def test_a_topic_that_is_missing_or_differs_is_wrong_and_one_that_is_hidden_is_not() -> None:
    views = {
        **ALL,
        TOPICS.raw: TopicView(False),
        TOPICS.chain: TopicView(True, ("audit.chain.main has 3 partitions: expected 1",), EVERYTHING),
        TOPICS.segments: TopicView(None),
    }
    missing, differing, hidden = judged_topics("main", TOPICS, views)
    assert (missing.state, missing.said) == ("wrong", "no topic audit.raw.main")
    assert "docs/runbooks/lost-kafka.md" in missing.to_do
    assert (differing.state, differing.said) == ("wrong", "audit.chain.main has 3 partitions: expected 1")
    assert (hidden.state, hidden.said) == ("skipped", "this user may not see audit.segments.main")


@pytest.mark.parametrize("client", CLIENTS)
def test_a_user_with_a_clients_permissions_can_be_it_and_with_one_less_can_not(client: str) -> None:
    listed = permissions(client, "main", "audit")
    needed = {each.name: frozenset(each.operations) for each in listed}
    topics = {*TOPICS, *(each.name for each in listed if each.resource == "topic")}

    def state(has: dict[str, frozenset[str]]) -> str:
        views = {name: TopicView(True, None, has.get(name, frozenset())) for name in (*topics, *SHARED)}
        groups = {name: has.get(name, frozenset()) for name in GROUPS}
        return only(judged_permissions("main", "audit", views, groups, [client])).state

    assert state(needed) == "ok"
    for name in {*topics, *SHARED, *GROUPS} & needed.keys():
        for operation in needed[name]:
            assert state({**needed, name: needed[name] - {operation}}) == "wrong"


def test_a_user_that_can_be_nobody_is_wrong_and_one_that_can_be_somebody_is_not() -> None:
    nobody = judged_permissions(
        "main", "audit", dict.fromkeys((*TOPICS, *SHARED), TopicView(None)), dict.fromkeys(GROUPS, frozenset()), []
    )
    assert only(nobody).state == "wrong"
    unseen = dict.fromkeys((*TOPICS, *SHARED), TopicView(None))
    writer = {**unseen, TOPICS.raw: TopicView(True, None, frozenset({"WRITE"}))}
    said = only(judged_permissions("main", "audit", writer, dict.fromkeys(GROUPS, frozenset()), []))
    assert said.state == "ok"
    assert "has the ACLs of producer; not of outbox-relay, sequencer" in said.said


MAY_SINK = {
    ("public.audit_log", "INSERT"): True,
    ("public.audit_position", "SELECT"): True,
    ("public.audit_checkpoint", "INSERT"): True,
    ("public.audit_log", "UPDATE"): False,
    ("public.audit_log", "DELETE"): False,
    ("public.audit_log", "TRUNCATE"): False,
}
SINK = {"role": "s", "super": False, "creates_roles": False}


@pytest.mark.parametrize(
    ("role", "who", "may", "said"),
    [
        ("sink", {}, {}, "s has the privileges that it needs"),
        ("sink", {}, {("public.audit_log", "INSERT"): False}, "s lacks INSERT on public.audit_log"),
        ("sink", {}, {("public.audit_log", "DELETE"): True}, "s may DELETE on public.audit_log: more than it needs"),
        ("sink", {"super": True}, {}, "s is a superuser"),
        ("admin", {}, {}, "s is neither superuser nor may it create roles"),
        ("admin", {"creates_roles": True}, {}, "s may migrate"),
    ],
)
def test_a_role_may_do_what_it_must_and_no_more(
    role: str, who: dict[str, bool], may: dict[tuple[str, str], bool], said: str
) -> None:
    assert only(judged(role, {**SINK, **who}, {**MAY_SINK, **may})).said.startswith(said)


@pytest.mark.parametrize(
    ("found", "state"),
    [(None, "warning"), (("GOVERNANCE", 9), "warning"), (("COMPLIANCE", 8), "warning"), (("COMPLIANCE", 9), "ok")],
)
def test_a_default_retention_that_is_too_weak_is_said(found: tuple[str, int] | None, state: str) -> None:
    assert judged_retention(found, 9).state == state


def test_a_key_must_be_there_be_private_and_be_the_chains(tmp_path: Path) -> None:
    vkey = create_key(tmp_path / "k", "a/main")
    other = create_key(tmp_path / "other", "a/main")
    named = create_key(tmp_path / "named", "a/else")

    def said(vkey: str, key_file: str = "", **more: str) -> Finding:
        chain = {"vkey": vkey, "key_file": key_file, **more}
        return only(check_keys(Settings.model_validate({"log": "a", "chains": {"main": chain}}), tmp_path))

    assert said(vkey, "k").state == "ok"
    assert said(vkey).state == "skipped"
    assert said(vkey, closed_at="now", continued_as="main-r2").state == "skipped"
    assert "does not exist" in said(vkey, "nowhere").said
    assert "another key than the settings' vkey" in said(other, "k").said
    assert "vkey is the key of a/else: expected a/main" in said(named).said
    assert "vkey is no verifier key" in said("nonsense").said
    (tmp_path / "k").chmod(0o644)
    assert "has mode 0644: expected 0600" in said(vkey, "k").said


def test_a_file_with_secrets_that_everybody_can_read_is_a_warning(tmp_path: Path) -> None:
    config, secret = tmp_path / "sealstream.toml", tmp_path / "key"
    secret.write_text("s")
    secret.chmod(0o604)
    nowhere = {"bootstrap": "127.0.0.1:1"}
    write_settings(config, {"kafka": nowhere, "archive": {"bucket": "", "access_key": "a", "secret_key_file": "key"}})
    said = say(config, "config", "check")
    assert said.code == 1
    assert f"warning   secrets: {secret} holds a secret, and everybody can read it (mode 0604)" in said.out
    assert f"to do: chmod 600 {secret}" in said.out
    assert f"ok        secrets: {config}: not everybody can read it (mode 0600)" in said.out
    assert "skipped   archive: archive.bucket is empty: there is no archive" in said.out
    assert "skipped   postgres sink: postgres.sink_dsn is not set" in said.out
    assert "wrong     kafka: " in said.out
    assert "Connection refused" in said.out


def test_settings_that_are_wrong_are_findings_too(tmp_path: Path) -> None:
    config = tmp_path / "sealstream.toml"
    config.write_text("[kafka]\nprefx = 'a'\nreplication = 0\n")
    said = say(config, "config", "check", "--json")
    assert said.code == 1
    assert [each["said"].partition(": ")[2].partition(":")[0] for each in json.loads(said.out)] == [
        *("kafka.prefx", "kafka.replication")
    ]


def test_an_error_of_a_check_is_a_finding_and_the_order_is_kept() -> None:
    def fail() -> list[Finding]:
        raise Unavailable("no answer")

    findings = found_by([("one", fail), ("two", lambda: [ok("two", "fine")])])
    assert [(each.state, each.about) for each in findings] == [("wrong", "one"), ("ok", "two")]
    assert any_wrong(findings)
    assert not any_wrong(findings[1:])


def test_the_acls_that_are_printed_are_those_that_are_needed(tmp_path: Path) -> None:
    said = say(tmp_path / "none.toml", "config", "acls", "main", "--for", "producer", "--for", "sequencer")
    assert said.code == 0
    lines = said.out.splitlines()
    assert lines[:2] == [
        "# producer",
        "kafka-acls.sh --bootstrap-server 127.0.0.1:19092 --add --allow-principal User:producer "
        "--operation Write --topic audit.raw.main",
    ]
    assert len(lines) == 2 + sum(len(permissions(client, "main", "audit")) for client in ("producer", "sequencer"))
    assert lines[-1].endswith("--operation Write --transactional-id sealstream-sequencer-main")
    assert "--operation DescribeConfigs" in said.out


def test_the_reference_in_the_docs_is_that_of_the_settings() -> None:
    page = PAGE.read_text()
    begin, end = "<!-- begin: sealstream config reference -->\n\n", "\n<!-- end -->"
    found = page[page.index(begin) + len(begin) : page.index(end)]
    assert found == reference_text(), "put the output of `sealstream config reference` between the two marks"


def test_the_settings_in_the_docs_are_settings(tmp_path: Path) -> None:
    blocks = re.findall(r"```toml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(blocks) >= 4
    for block in blocks:
        text = block
        for named in re.findall(r'_file"? = "(/run/secrets/[^"]+)"', block):
            secret = tmp_path / named.rpartition("/")[2]
            secret.write_text("s")
            text = text.replace(named, str(secret))
        file = tmp_path / "sealstream.toml"
        file.write_text(text)
        read(Settings, file, {})


def test_certificates_that_are_not_there_are_said_to_be_missing(tmp_path: Path) -> None:
    missing = tmp_path / "ca.pem"
    config = tmp_path / "sealstream.toml"
    sections = {
        "kafka": {"bootstrap": "127.0.0.1:1", "security_protocol": "SSL", "ca_file": "ca.pem"},
        "postgres": {"sink_dsn": f"postgresql://a@127.0.0.1:1/x?sslmode=verify-full&sslrootcert={missing}"},
        "archive": {"endpoint_url": "https://127.0.0.1:1", "ca_file": "ca.pem", "access_key": "a", "secret_key": "b"},
    }
    write_settings(config, sections)
    said = say(config, "config", "check", "--json")
    found = {each["about"]: each["said"] for each in json.loads(said.out) if each["state"] == "wrong"}
    assert "ssl.ca.location failed" in found["kafka"]
    assert "sslrootcert, sslcert or sslkey names does not exist" in found["postgres sink"]
    assert f"archive.ca_file {missing} does not exist" in found["archive"]
