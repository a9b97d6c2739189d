"""The Helm chart: what it makes is what Kubernetes takes, confined as promised, and each process is told what it needs
and nothing that it must not know. Wrong values are refused before anything is installed.
"""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from tests.deploy.charts import (
    CHART,
    EXAMPLES,
    Rendered,
    containers_of,
    faults_of_values,
    findings_of_lint,
    over,
    pod_of,
    render,
    settings_of,
)
from tests.deploy.checkov import checkov
from tests.deploy.queries import RULES
from tests.long_runs import long_run
from tests.pipeline import say

from sealstream.cli.check_files import check_files, check_keys
from sealstream.cli.findings import any_wrong
from sealstream.cli.settings import read_settings
from sealstream.sealing import new_signing_key, signer

MINIMAL, EVERYTHING = EXAMPLES / "minimal.yaml", EXAMPLES / "everything.yaml"
WRITE_ALONE = ("sequencer", "checkpointing", "postgres-sink", "archive-sink", "activity", "watch", "forward")
CUSTOM = ("ServiceMonitor", "PrometheusRule")
SECRET_MARK = "a-secret-of-the-tests"


@pytest.fixture(params=[MINIMAL, EVERYTHING], ids=lambda path: path.stem)
def rendered(request: pytest.FixtureRequest) -> Rendered:
    made = render(request.param)
    assert not made.refused
    return made


@pytest.fixture
def everything() -> Rendered:
    made = render(EVERYTHING)
    assert not made.refused
    return made


def kind_of(manifest: dict[str, Any]) -> str:
    kind: str = manifest["metadata"]["labels"]["app.kubernetes.io/component"]
    return kind


# What the chart is given


def test_the_schema_is_what_make_schema_makes() -> None:
    file = CHART.parent / "make_schema.py"
    specification = importlib.util.spec_from_file_location("helm_make_schema", file)
    assert specification
    assert specification.loader
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    assert json.loads((CHART / "values.schema.json").read_text()) == module.schema()


@pytest.mark.parametrize("example", [MINIMAL, EVERYTHING], ids=lambda path: path.stem)
def test_examples_are_taken(example: Path) -> None:
    assert faults_of_values(yaml.safe_load(example.read_text())) == []


WRONG = [
    ({"settings": {"kafka": {"replication": "three"}}}, "'three' is not of type 'integer'"),
    ({"settings": {"kafka": {"boostrap": "kafka:9093"}}}, "'boostrap' was unexpected"),
    ({"settings": {"kafka": {"password": SECRET_MARK}}}, "'password' was unexpected"),
    ({"settings": {"kafka": {"options": {"sasl.password": SECRET_MARK}}}}, "is not valid under any of the given"),
    ({"settings": {"postgres": {"sink_dsn": "postgresql://"}}}, "'sink_dsn' was unexpected"),
    ({"settings": {"archive": {"secret_key": SECRET_MARK}}}, "'secret_key' was unexpected"),
    ({"settings": {"chains": {"phi": {"retention": "hipaa"}}}}, "'vkey' is a required property"),
    ({"settings": {"chains": {"Main": {"vkey": "v"}}}}, "'Main' does not match"),
    ({"settings": {"chains": {"main": {"key_file": "main.key"}}}}, "'key_file' was unexpected"),
    ({"settings": {"metrics": {"host": "127.0.0.1"}}}, "'host' was unexpected"),
    ({"settings": {"forward": {"targets": {"x": {"kind": "fax"}}}}}, "'fax' is not one of"),
    ({"processes": {"checkpointing": {"replicas": 2}}}, "'replicas' was unexpected"),
    ({"processes": {"sequencer": {"replicas": 0}}}, "0 is less than the minimum of 1"),
    ({"processes": {"sequenser": {"enabled": True}}}, "'sequenser' was unexpected"),
    (
        {"processes": {"sequencer": {"files": {"chains.main.key_file": {"secret": "s", "key": "k"}}}}},
        "'chains.main.key_file' does not match any of the regexes",
    ),
    (
        {"processes": {"serve": {"files": {"postgres.admin_dsn_file": {"secret": "s", "key": "k"}}}}},
        "'postgres.admin_dsn_file' does not match any of the regexes",
    ),
    (
        {"processes": {"collect": {"files": {"kafka.password_file": {"configMap": "c", "key": "k"}}}}},
        "'configMap' was unexpected",
    ),
    ({"files": {"kafka.ca_file": {"configMap": "c"}}}, "'key' is a required property"),
    ({"image": {"digest": "latest"}}, "'latest' does not match"),
    ({"user": 0}, "0 is less than the minimum of 1"),
    ({"networkPolicies": {"enabled": False}}, "'networkPolicies' was unexpected"),
]


@pytest.mark.parametrize(("wrong", "said"), WRONG, ids=[str(n) for n in range(len(WRONG))])
def test_wrong_values_are_refused_by_what_is_wrong_with_them(wrong: dict[str, Any], said: str) -> None:
    given = over(yaml.safe_load(MINIMAL.read_text()), wrong)
    found = faults_of_values(given)
    assert any(said in fault for fault in found), found


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"settings": {"kafka": {"replication": "three"}}}, "/settings/kafka/replication"),
        ({"settings": {"postgres": {"sink_dsn": "postgresql://"}}}, "sink_dsn"),
        ({"processes": {"checkpointing": {"replicas": 2}}}, "replicas"),
        ({"processes": {"checkpointing": {"files": {"chains.main.key_file": None}}}}, "needs the file"),
        ({"processes": {"postgres-sink": {"files": {"postgres.sink_dsn_file": None}}}}, "postgres-sink.enabled to f"),
        ({"processes": {"serve": {"enabled": True}}}, 'needs the file "serve.tokens_file"'),
        ({"processes": {"collect": {"enabled": True}}}, 'needs the file "collect.keys_file"'),
        ({"processes": {"forward": {"enabled": True}}}, "settings.forward.targets names no target"),
        ({"jobs": {"migrate": {"enabled": True}}}, 'needs the file "postgres.admin_dsn_file"'),
        (
            {"processes": {"checkpointing": {"files": {"chains.phi.key_file": {"secret": "s", "key": "k"}}}}},
            None,  # of a chain that is not run here: nobody is given it
        ),
        (
            {
                "processes": {
                    "outbox-relay": {
                        "enabled": True,
                        "outboxes": {"billing": {"chain": "nowhere", "dsn": {"secret": "s", "key": "k"}}},
                    }
                }
            },
            'there is no chain "nowhere"',
        ),
    ],
)
def test_helm_refuses_what_is_wrong_and_says_why(wrong: dict[str, Any], said: str | None) -> None:
    made = render(MINIMAL, wrong)
    assert bool(made.refused) == (said is not None), made.refused
    assert said is None or said in made.refused


def test_the_chart_without_values_is_refused_since_nobody_knows_where_kafka_is() -> None:
    assert "kafka" in render({}).refused


@pytest.mark.parametrize("example", [MINIMAL, EVERYTHING], ids=lambda path: path.stem)
def test_helm_has_nothing_against_it(example: Path) -> None:
    assert findings_of_lint(yaml.safe_load(example.read_text())) == []


# What it makes


def test_kubernetes_takes_every_manifest(rendered: Rendered) -> None:
    assert len(rendered.manifests) > 20
    for manifest in rendered.manifests:
        if manifest["kind"] not in CUSTOM:
            kubernetes_validate.validate(manifest, "1.34", strict=True)
        assert len(manifest["metadata"]["name"]) <= 63
        assert manifest["metadata"]["namespace"] == "audit"


def test_names_are_given_once(rendered: Rendered) -> None:
    names = [(each["kind"], each["metadata"]["name"]) for each in rendered.manifests]
    assert len(set(names)) == len(names)


def test_there_is_a_deployment_for_each_process_and_chain(everything: Rendered) -> None:
    names = [each["metadata"]["name"] for each in everything.of("Deployment")]
    assert sorted(name.removeprefix("audit-sealstream-") for name in names) == [
        "activity", "anomaly", "archive-sink-main", "archive-sink-phi", "checkpointing-main", "checkpointing-phi",
        "collect", "forward", "outbox-relay-billing", "outbox-relay-claims", "postgres-sink-main", "postgres-sink-phi",
        "sequencer", "serve", "watch",
    ]  # fmt: skip


def test_a_container_may_do_nothing_but_its_work(rendered: Rendered) -> None:
    for name, container, pod in containers_of(rendered):
        confined = container["securityContext"]
        assert confined["runAsNonRoot"], name
        assert confined["readOnlyRootFilesystem"], name
        assert not confined["allowPrivilegeEscalation"], name
        assert confined["capabilities"] == {"drop": ["ALL"]}, name
        assert pod["securityContext"]["runAsNonRoot"], name
        assert pod["securityContext"]["runAsUser"] == 10001, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert not pod["automountServiceAccountToken"], name
        assert not pod["enableServiceLinks"], name  # they would be variables that begin with SEALSTREAM_
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys(), name
        assert {"cpu", "memory"} <= container["resources"]["requests"].keys(), name
        assert {"cpu", "memory"} <= container["resources"]["limits"].keys(), name


def test_a_secret_comes_as_a_file_and_never_as_a_variable(rendered: Rendered) -> None:
    for name, container, _ in containers_of(rendered):
        assert "envFrom" not in container, name
        for variable in container.get("env", []):
            assert variable.keys() == {"name", "value"}, name
            assert variable["value"].startswith("/"), name
    for manifest in rendered.of("ConfigMap"):
        for text in manifest["data"].values():
            assert not re.search(r"^\"?(password|secret|\w*_dsn|access_key|secret_key|key_password)\"? =", text, re.M)
    assert not rendered.of("Secret")


def test_each_process_is_probed_where_it_answers(rendered: Rendered) -> None:
    for manifest in rendered.of("Deployment"):
        pod = pod_of(manifest)
        assert pod
        (container,) = pod["containers"]
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        for probe, path in (("startupProbe", "/healthz"), ("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")):
            asked = container[probe]["httpGet"]
            assert asked["path"] == path
            assert asked["port"] in ports
        if kind_of(manifest) != "serve":
            at = container["args"].index("--metrics-port")
            assert int(container["args"][at + 1]) == ports["metrics"]
        assert container["startupProbe"]["periodSeconds"] * container["startupProbe"]["failureThreshold"] >= 60


def test_a_service_with_tls_is_probed_by_tls(everything: Rendered) -> None:
    assert probe_scheme(everything, "audit-sealstream-serve") == "HTTPS"
    assert probe_scheme(everything, "audit-sealstream-collect") == "HTTP"  # its probes are at its metrics' port


def probe_scheme(rendered: Rendered, name: str) -> str:
    pod = pod_of(rendered.one("Deployment", name))
    assert pod
    scheme: str = pod["containers"][0]["livenessProbe"]["httpGet"]["scheme"]
    return scheme


def test_each_starts_a_command_that_exists(
    everything: Rendered, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    tried = set[tuple[str, ...]]()
    for name, container, _ in containers_of(everything):
        if container["name"] == "signing-key":
            assert container["command"][0] == "install"
            continue
        words = tuple(container["args"])
        if words[:2] in tried:
            continue
        tried.add(words[:2])
        ran = say(tmp_path / "none.toml", *words)  # the words are understood; what is missing is the settings
        assert (ran.code, "no settings file" in ran.err) == (2, True), (name, words, ran.err)
    assert len(tried) == 14


def test_those_that_write_alone_are_never_two_versions_at_once(everything: Rendered) -> None:
    for manifest in everything.of("Deployment"):
        strategy = manifest["spec"]["strategy"]["type"]
        assert strategy == ("Recreate" if kind_of(manifest) in (*WRITE_ALONE, "outbox-relay") else "RollingUpdate")
        if kind_of(manifest) in WRITE_ALONE[1:]:
            assert manifest["spec"]["replicas"] == 1


def test_an_alarm_stays_to_be_seen(rendered: Rendered, tmp_path: Path) -> None:
    for manifest in rendered.of("Deployment"):
        pod = pod_of(manifest)
        assert pod
        assert read(rendered, pod, tmp_path).settings.metrics.stay_after_alarm


# What each is told


def put_files(pod: dict[str, Any], folder: Path, keys: dict[str, str]) -> None:
    """Each file that the pod is given, as it would be there."""
    for volume in pod["volumes"]:
        for source in volume.get("projected", {}).get("sources", []):
            (kind,) = source.keys() & {"secret", "configMap"}
            for item in source[kind]["items"]:
                name = item["path"]
                signs = re.fullmatch(r"chains\.(.*)\.key_file", name)
                path = folder / ("signing" if signs else "files") / name
                path.parent.mkdir(parents=True, exist_ok=True)
                text = f"{SECRET_MARK}\n"
                if signs:
                    text = keys[signs[1]]
                elif name.endswith("dsn_file"):
                    text = "postgresql://role:password@db.example.com/sealstream?sslmode=verify-full\n"
                elif name.endswith("endpoint_url_file"):
                    text = "https://s3.example.com\n"
                elif name.endswith("soc.url_file"):
                    text = "https://soc.example.com/hook\n"
                elif name.endswith("soc.secret_file"):
                    text = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n"
                elif name.endswith("pager.secret_file"):
                    text = "0123456789abcdef0123456789abcdef\n"
                path.write_text(text)
                path.chmod(0o600)


def read(rendered: Rendered, pod: dict[str, Any], tmp_path: Path) -> Any:
    """The settings as the process in this pod reads them."""
    folder = tmp_path / str(len(list(tmp_path.iterdir())))
    folder.mkdir()
    put_files(pod, folder, dict.fromkeys(("main", "phi"), SECRET_MARK))
    file = folder / "sealstream.toml"
    file.write_text(settings_of(rendered, pod).replace("/run/sealstream/", f"{folder}/"))
    return read_settings(file)


def test_each_process_and_job_takes_the_settings_that_it_is_given(tmp_path: Path) -> None:
    keys = {name: new_signing_key(f"audit.example.com/{name}") for name in ("main", "phi", "old")}
    vkeys = {"settings": {"chains": {name: {"vkey": signer(key).vkey} for name, key in keys.items()}}}
    rendered = render(EVERYTHING, vkeys)
    pods = 0
    for manifest in [*rendered.of("Deployment"), *rendered.of("Job"), *rendered.of("CronJob")]:
        pod = pod_of(manifest)
        assert pod
        folder = tmp_path / f"{manifest['kind']}-{manifest['metadata']['name']}"
        folder.mkdir()
        put_files(pod, folder, keys)
        file = folder / "sealstream.toml"
        file.write_text(settings_of(rendered, pod).replace("/run/sealstream/", f"{folder}/"))
        loaded = read_settings(file)
        assert not loaded.warnings
        found = [*check_files(loaded), *check_keys(loaded.settings, folder)]
        assert not any_wrong(found), (manifest["metadata"]["name"], found)
        kind, settings = kind_of(manifest), loaded.settings
        assert settings.kafka.username == {"verify": "verifier", "chains": "admin"}.get(kind, kind)
        assert settings.chains["main"].segment_bytes == 67_108_864
        assert settings.open_chains() == ["main", "phi"]
        assert settings.anomaly.detectors.failed_login_burst.failures == 6
        assert settings.kafka.options == {"client.rack": "eu-central-1a"}
        # A key, a role and a password are with those alone whose they are.
        signing = {name for name, chain in settings.chains.items() if chain.key_file}
        assert signing == ({manifest["metadata"]["labels"]["sealstream-chain"]} if kind == "checkpointing" else set())
        assert bool(settings.postgres.sink_dsn) == (kind in ("postgres-sink", "migrate"))
        assert bool(settings.postgres.admin_dsn) == (kind == "migrate")
        archiving = kind in ("archive-sink", "watch", "anomaly", "serve", "chains", "verify")
        assert bool(settings.archive.secret_key) == bool(settings.archive.bucket) == archiving
        assert [*settings.forward.targets] == (["pager", "soc"] if kind == "forward" else [])
        if kind in ("collect", "serve"):
            assert getattr(settings, kind).host == "0.0.0.0"
        pods += 1
    assert pods == 15 + 3 + 2


def test_what_the_watch_asks_of_the_others_is_where_they_are(everything: Rendered, tmp_path: Path) -> None:
    pod = pod_of(everything.one("Deployment", "audit-sealstream-watch"))
    assert pod
    targets = read(everything, pod, tmp_path).settings.metrics.targets
    services = {each["metadata"]["name"] for each in everything.of("Service")}
    assert len(targets) == 14
    for url in targets.values():
        assert url.removeprefix("http://").removesuffix(":9464") in services


def test_a_change_of_its_settings_starts_a_process_anew_and_no_other() -> None:
    def sums(**settings: object) -> dict[str, str]:
        made = render(MINIMAL, {"processes": {"watch": {"settings": settings}}})
        return {
            each["metadata"]["name"]: each["spec"]["template"]["metadata"]["annotations"]["checksum/settings"]
            for each in made.of("Deployment")
        }

    before, after = sums(), sums(watch={"every_seconds": 30})
    assert {name for name in before if before[name] != after[name]} == {"audit-sealstream-watch"}


# Who reaches whom


def selected(labels: dict[str, str], chosen: dict[str, str]) -> bool:
    return chosen.items() <= labels.items()


def test_selectors_choose_what_they_should(rendered: Rendered) -> None:
    pods = {
        each["metadata"]["name"]: each["spec"]["template"]["metadata"]["labels"] for each in rendered.of("Deployment")
    }
    for manifest in rendered.of("Deployment"):
        chosen = manifest["spec"]["selector"]["matchLabels"]
        assert [name for name, labels in pods.items() if selected(labels, chosen)] == [manifest["metadata"]["name"]]
    for service in rendered.of("Service"):
        assert sum(selected(labels, service["spec"]["selector"]) for labels in pods.values()) == 1
    for budget in rendered.of("PodDisruptionBudget"):
        (name,) = (n for n, labels in pods.items() if selected(labels, budget["spec"]["selector"]["matchLabels"]))
        assert rendered.one("Deployment", name)["spec"]["replicas"] > 1
    several = [each for each in rendered.of("Deployment") if each["spec"]["replicas"] > 1]
    assert len(rendered.of("PodDisruptionBudget")) == len(several)
    for manifest in several:
        pod = pod_of(manifest)
        assert pod
        assert [each["topologyKey"] for each in pod["topologySpreadConstraints"]] == [
            "kubernetes.io/hostname",
            "topology.kubernetes.io/zone",
        ]


def ports_to(rendered: Rendered, kind: str, direction: str) -> set[int]:
    """The ports of the policies that choose this kind's pods."""
    rules = [
        rule
        for policy in rendered.of("NetworkPolicy")
        if policy["spec"]["podSelector"]["matchLabels"].get("app.kubernetes.io/component") == kind
        for rule in policy["spec"].get(direction) or []
    ]
    return {port["port"] for rule in rules for port in rule["ports"]}


def test_nobody_is_reached_and_reaches_but_as_needed(everything: Rendered) -> None:
    nothing = everything.one("NetworkPolicy", "audit-sealstream-nothing")["spec"]
    assert nothing["policyTypes"] == ["Ingress", "Egress"]
    assert not nothing.keys() & {"ingress", "egress"}
    for name, _, _ in containers_of(everything):
        kind, _ = name.split(", ")
        labels = everything.one(*kind.split(" "))["metadata"]["labels"]
        assert selected(labels, nothing["podSelector"]["matchLabels"])
    assert ports_to(everything, "sequencer", "egress") == {53, 9093, 9095}
    assert ports_to(everything, "sequencer", "ingress") == {9464}
    assert ports_to(everything, "postgres-sink", "egress") == {53, 9093, 9095, 5432}
    assert ports_to(everything, "archive-sink", "egress") == {53, 9093, 9095, 443}
    assert ports_to(everything, "forward", "egress") == {53, 9093, 9095, 5432, 443, 465, 587, 6514}
    assert ports_to(everything, "collect", "ingress") == {9464, 8481}
    assert ports_to(everything, "serve", "ingress") == {8480}
    assert ports_to(everything, "watch", "egress") == {53, 9093, 9095, 5432, 443, 9464}
    assert ports_to(everything, "migrate", "egress") == {53, 5432}
    assert ports_to(everything, "migrate", "ingress") == set()


def test_spans_go_out_from_who_makes_them_and_only_where_they_are_asked_for() -> None:
    made = render(MINIMAL, {"settings": {"tracing": {"endpoint": "http://otel:4318"}}})
    assert not made.refused
    ports = {kind: ports_to(made, kind, "egress") for kind in ("sequencer", "postgres-sink", "checkpointing")}
    assert {kind for kind, reached in ports.items() if 4318 in reached} == {"sequencer", "postgres-sink"}


def test_without_an_archive_nothing_goes_to_one() -> None:
    made = render(MINIMAL, {"settings": {"archive": {"bucket": ""}}})
    assert not made.refused
    assert not [each for each in made.of("Deployment") if kind_of(each) == "archive-sink"]


# Who is told


def test_prometheus_gets_the_same_rules_and_grafana_the_same_dashboards(everything: Rendered) -> None:
    (rules,) = everything.of("PrometheusRule")
    groups = rules["spec"]["groups"]
    assert groups.pop()["name"] == "sealstream-verification"
    for group in groups:
        for rule in group["rules"]:
            url = rule["annotations"].pop("runbook_url")
            assert url == f"https://git.example.com/audit/sealstream/{rule['annotations']['runbook']}"
    assert groups == yaml.safe_load(RULES.read_text())["groups"]
    dashboards = [each for each in everything.of("ConfigMap") if "grafana_dashboard" in each["metadata"]["labels"]]
    given = {name: json.loads(text) for each in dashboards for name, text in each["data"].items()}
    files = RULES.parents[1] / "grafana" / "dashboards"
    assert given == {file.name: json.loads(file.read_text()) for file in files.glob("*.json")}


def test_prometheus_finds_each_process_under_the_name_that_the_rules_know(everything: Rendered) -> None:
    (monitor,) = everything.of("ServiceMonitor")
    chosen = monitor["spec"]["selector"]["matchLabels"]
    found = [each for each in everything.of("Service") if selected(each["metadata"]["labels"], chosen)]
    assert len(found) == 14
    assert all(each["spec"]["publishNotReadyAddresses"] for each in found)
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["relabelings"] == [{"action": "replace", "targetLabel": "job", "replacement": "sealstream"}]
    assert all(port["name"] == endpoint["port"] for each in found for port in each["spec"]["ports"])


@long_run
@pytest.mark.timeout(300)
def test_checkov_has_nothing_against_it(tmp_path: Path) -> None:
    program = checkov()
    file = tmp_path / "rendered.yaml"
    file.write_text(render(EVERYTHING).text)
    # CKV_K8S_15 wants the image fetched at each start: it is named by its digest, which never means another.
    said = subprocess.run(
        [program, "--file", str(file), "--compact", "--quiet", "--skip-download", "--skip-check", "CKV_K8S_15"],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert said.returncode == 0, said.stdout
