"""A wrong setting is told with its place, a right one with where it came from; a secret is never told at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import BaseModel
from tests.pipeline import say

from sealstream.cli.settings import OTHER_VARIABLES, Settings
from sealstream.cli.stores import archive_settings
from sealstream.errors import Misconfigured
from sealstream.settings import Loaded, Origin, read, shown

SECRET = "open-sesame"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where the settings are, if a test writes some."""
    return tmp_path / "sealstream.toml"


def told(file: Path, text: str, **environ: str) -> list[str]:
    """The faults, without the folder."""
    file.write_text(text)
    with pytest.raises(Misconfigured) as raised:
        read(Settings, file, environ, other_variables=OTHER_VARIABLES)
    return [line.strip().replace(f"{file.parent}/", "") for line in str(raised.value).splitlines()]


def loaded(file: Path, text: str, **environ: str) -> Loaded[Settings]:
    """What was read."""
    file.write_text(text)
    return read(Settings, file, environ, other_variables=OTHER_VARIABLES)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            '\n[kafka]\nboostrap = "k:1"\n',
            ":3: kafka.boostrap: there is no such setting; did you mean kafka.bootstrap?",
        ),
        ('bootstrap = "k:1"\n', ":1: bootstrap: there is no such setting; did you mean kafka.bootstrap?"),
        ("[kafak]\n", ":1: kafak: there is no such setting; did you mean kafka?"),
        ("[chains.main]\n", ":1: chains.main.vkey: is missing"),
        (
            "[chains]\nmain = {vkey = 'v', retentoin = 'x'}",
            ":2: chains.main.retentoin: there is no such setting; did you mean chains.main.retention?",
        ),
        ("zzz = 1\n", ":1: zzz: there is no such setting"),
        ("[kafka]\nreplication = 10\n", ":2: kafka.replication: input should be less than or equal to 9, got 10"),
        (
            "[kafka]\nca_file = 'x'\n",
            ":2: kafka.ca_file: has no effect with security_protocol PLAINTEXT: expected SSL or SASL_SSL",
        ),
        (
            "[kafka]\nsecurity_protocol = 'SASL_SSL'\nsasl_mechanism = 'OAUTHBEARER'\nclient_id = 'a'\n"
            "client_secret = 'b'\n",
            ":1: kafka.token_url: is missing: OAUTHBEARER needs token_url, client_id and client_secret",
        ),
        (
            "[kafka]\nsecurity_protocol = 'SASL_SSL'\ntoken_url = 'https://x'\n",
            ":3: kafka.token_url: has no effect without sasl_mechanism OAUTHBEARER",
        ),
        (
            "[kafka]\nsecurity_protocol = 'SASL_SSL'\nsasl_mechanism = 'oauthbearer'\nusername = 'a'\n",
            ":4: kafka.username: has no effect with OAUTHBEARER: expected client_id and client_secret",
        ),
        (
            "log = [\n",
            ":2: the settings file can't be read: it is not TOML, column 1: invalid value; texts stand in quotes",
        ),
        (
            "log = 'a'\nkafka = nope\n",
            ":2: the settings file can't be read: it is not TOML, column 9: invalid value; texts stand in quotes",
        ),
        (
            "[kafka]\nprefix = 'a'\nprefix = 'b'\n",
            ":3: the settings file can't be read: it is not TOML, column 13: cannot overwrite a value",
        ),
    ],
)
def test_a_fault_names_its_line(file: Path, text: str, said: str) -> None:
    assert told(file, text) == [f"sealstream.toml{said}"]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("SEALSTREAM_KAFKA__BOOTSTRP", "x", "there is no such setting; did you mean SEALSTREAM_KAFKA__BOOTSTRAP?"),
        ("SEALSTREAM_KAFKA_BOOTSTRAP", "x", "there is no such setting; did you mean SEALSTREAM_KAFKA__BOOTSTRAP?"),
        (
            "SEALSTREAM_CHAINS__MAIN__RETENTON",
            "x",
            "there is no such setting; did you mean SEALSTREAM_CHAINS__MAIN__RETENTION?",
        ),
        (
            "SEALSTREAM_KAFKA__REPLICATION",
            "many",
            "input should be a valid integer, unable to parse string as an integer, got 'many'",
        ),
        ("SEALSTREAM_KAFKA", "x", "expected JSON for a whole table or list, such as {} or []"),
        ("SEALSTREAM_KAFKA", '{"prefx": "x"}', "kafka.prefx: there is no such setting; did you mean kafka.prefix?"),
        (
            "SEALSTREAM_ARCHIVE__ACCESS_KEY",
            SECRET,
            "archive.secret_key: is missing: access_key and secret_key are given together, or neither",
        ),
        (
            "SEALSTREAM_POSTGRES__SINK_DSN_FILE",
            "/nowhere/dsn",
            "there is no file /nowhere/dsn: expected one that holds the secret",
        ),
    ],
)
def test_a_fault_names_its_variable(file: Path, name: str, value: str, said: str) -> None:
    (line,) = told(file, "[chains.main]\nvkey = 'v'\n", **{name: value})
    assert line in (f"{name}: {said}", said)
    assert SECRET not in line


def test_all_faults_are_told_at_once_in_the_order_of_the_file(file: Path) -> None:
    lines = told(file, "lgo = 'x'\n[kafka]\nreplication = 0\n[archive]\nbuket = ''\n", SEALSTREAM_KAFKA__X="1")
    assert lines[0].endswith("4 things in the settings are wrong")
    assert [line.partition(": ")[0] for line in lines[1:]] == [
        *("sealstream.toml:1", "sealstream.toml:3", "sealstream.toml:5", "SEALSTREAM_KAFKA__X")
    ]


def test_what_kubernetes_puts_into_the_environment_is_a_warning(file: Path) -> None:
    odd = {"SEALSTREAM_SERVICE_HOST": "10.0.0.1", "SEALSTREAM_PORT": "tcp://10.0.0.1:80"}
    read_now = loaded(file, "", **odd, SEALSTREAM_TRACEBACK="1", SEALSTREAM_CONFIG="x")
    assert sorted(fault.origin.variable for fault in read_now.warnings) == sorted(odd)
    assert {fault.message for fault in read_now.warnings} == {
        "there is no such setting; did you mean SEALSTREAM_REPORT?",
        "there is no such setting; did you mean SEALSTREAM_SERVE__HOST?",
    }


def test_a_variable_wins_and_each_value_says_where_it_came_from(file: Path) -> None:
    (file.parent / "pw").write_text(f"{SECRET}\n")
    text = """\
[kafka]
bootstrap = "file:1"
security_protocol = "sasl_ssl"
sasl_mechanism = "scram-sha-512"
username = "sealstream"
password_file = "pw"
options = { "client.rack" = "a" }
[chains.main-r2]
vkey = "v"
"""
    read_now = loaded(
        file,
        text,
        SEALSTREAM_KAFKA__BOOTSTRAP="variable:2",
        SEALSTREAM_KAFKA__OPTIONS__CLIENT_RACK="b",
        SEALSTREAM_CHAINS__MAIN_R2__RETENTION="hipaa",
        SEALSTREAM_ARCHIVE='{"bucket": "other"}',
    )
    settings = read_now.settings
    assert settings.kafka_settings().bootstrap == "variable:2"
    assert settings.kafka_settings().options == {
        "security.protocol": "SASL_SSL",
        "sasl.mechanisms": "SCRAM-SHA-512",
        "sasl.username": "sealstream",
        "sasl.password": SECRET,
        "client.rack": "b",
    }
    rows = {row.name: row for row in shown(read_now)}
    origins = {name: str(row.origin).replace(f"{file.parent}/", "") for name, row in rows.items()}
    assert origins["kafka.bootstrap"] == "SEALSTREAM_KAFKA__BOOTSTRAP"
    assert origins["kafka.security_protocol"] == "sealstream.toml:3"
    assert origins["kafka.password"] == "pw (named by sealstream.toml:6)"
    assert origins['kafka.options."client.rack"'] == "SEALSTREAM_KAFKA__OPTIONS__CLIENT_RACK"
    assert origins["chains.main-r2.vkey"] == "sealstream.toml:9"
    assert origins["chains.main-r2.retention"] == "SEALSTREAM_CHAINS__MAIN_R2__RETENTION"
    assert origins["archive.bucket"] == "SEALSTREAM_ARCHIVE"
    assert origins["archive.region"] == "default"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "there is no file pw: expected one that holds the secret"),
        (b"\n", "pw is empty: expected the secret"),
        (b"\xff\xfe", "pw is not UTF-8 text: expected a secret alone"),
        (b"x" * 70_000, "pw is larger than 65536 bytes: expected a secret alone"),
    ],
)
def test_a_secrets_file_that_holds_none_is_a_fault(file: Path, content: bytes | None, said: str) -> None:
    if content is not None:
        (file.parent / "pw").write_bytes(content)
    text = "[archive]\naccess_key = 'a'\nsecret_key_file = 'pw'\n"
    assert told(file, text) == [f"sealstream.toml:3: archive.secret_key_file: {said}"]


def test_a_secret_and_its_file_in_one_place_are_one_too_many_and_a_variable_replaces_both(file: Path) -> None:
    pw = file.parent / "pw"
    pw.write_text("a\n\n")
    both = "[archive]\naccess_key = 'a'\nsecret_key = 'b'\nsecret_key_file = 'pw'\n"
    assert told(file, both) == [
        "sealstream.toml:4: archive.secret_key_file: archive.secret_key is given too (sealstream.toml:3): "
        "give one of the two"
    ]
    one = loaded(file, "[archive]\naccess_key = 'a'\nsecret_key = 'b'\n", SEALSTREAM_ARCHIVE__SECRET_KEY_FILE=str(pw))
    assert one.settings.archive.secret_key == "a\n"  # one newline is dropped, no more
    assert one.origins["archive", "secret_key"] == Origin(
        variable="SEALSTREAM_ARCHIVE__SECRET_KEY_FILE", secret_file=str(pw)
    )
    gone = loaded(file, "[archive]\naccess_key = 'a'\nsecret_key_file = 'gone'\n", SEALSTREAM_ARCHIVE__SECRET_KEY="c")
    assert gone.settings.archive.secret_key == "c"
    options = loaded(file, "[kafka.options]\n'sasl.password_file' = 'pw'\n")
    assert options.settings.kafka.options == {"sasl.password": "a\n"}


def test_an_option_that_a_setting_stands_for_is_given_once(file: Path) -> None:
    text = "[kafka]\nsecurity_protocol = 'SSL'\nca_file = '/a'\noptions = {'ssl.ca.location' = '/b'}\n"
    (line,) = told(file, text)
    assert "kafka.options has ssl.ca.location too, which is the same: give one of the two" in line


def test_oauthbearer_gets_its_tokens_by_client_credentials_and_over_what_the_system_trusts(file: Path) -> None:
    (file.parent / "secret").write_text(f"{SECRET}\n")
    text = """\
[kafka]
security_protocol = "SASL_SSL"
sasl_mechanism = "OAUTHBEARER"
token_url = "https://login.example.com/token"
client_id = "sequencer"
client_secret_file = "secret"
"""
    settings = loaded(file, f'{text}token_scope = "kafka"\ntoken_ca_file = "ca.pem"\n').settings
    assert settings.kafka_settings().options == {
        "security.protocol": "SASL_SSL",
        "sasl.mechanisms": "OAUTHBEARER",
        "sasl.oauthbearer.method": "oidc",
        "sasl.oauthbearer.token.endpoint.url": "https://login.example.com/token",
        "sasl.oauthbearer.client.id": "sequencer",
        "sasl.oauthbearer.client.secret": SECRET,
        "sasl.oauthbearer.scope": "kafka",
        "https.ca.location": str(file.parent / "ca.pem"),
    }
    trusted = loaded(file, text).settings.kafka_settings().options["https.ca.location"]
    assert Path(trusted).exists()
    other = "[kafka]\nsasl_mechanism = 'OAUTHBEARER'\nsecurity_protocol = 'SASL_SSL'\n"
    own = loaded(file, f"{other}options = {{'sasl.oauthbearer.method' = 'default'}}\n").settings.kafka_settings()
    assert own.options["sasl.oauthbearer.method"] == "default"


def test_no_secret_is_ever_shown(file: Path) -> None:
    dsn = f"postgresql://sink:{SECRET}@h@db/x?sslmode=verify-full"
    file.write_text(
        f"""\
[kafka]
security_protocol = "SASL_SSL"
sasl_mechanism = "PLAIN"
username = "u"
password = "{SECRET}"
options = {{ "ssl.key.password" = "{SECRET}" }}
[postgres]
sink_dsn = "{dsn}"
reader_dsn = "host=db password={SECRET}"
keeper_dsn = "postgresql:///x?user=a&password={SECRET}&sslmode=require"
[archive]
access_key = "{SECRET}"
secret_key = "{SECRET}"
"""
    )
    for options in ((), ("--json",), ("--given",), ("kafka",)):
        said = say(file, "config", "show", *options)
        assert said.code == 0
        assert SECRET not in said.out + said.err
    assert "postgresql://sink:********@db/x?sslmode=verify-full" in say(file, "config", "show").out
    members = json.loads(say(file, "config", "show", "postgres.sink_dsn", "--json").out)
    (row,) = members["settings"]
    assert (row["secret"], row["default"], row["from"]) == (True, False, {"file": str(file), "line": 8})
    broken = file.read_text() + "[kafka.more]\n" + f"[archive]\nsecret_key = '{SECRET}'\n"
    assert SECRET not in "".join(told(file, broken))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"postgres = 'postgresql://u:{SECRET}@h/db'\n", ":1: postgres: expected a table, got a text"),
        (f"[kafka]\noptions = 'sasl.password={SECRET}'\n", ":2: kafka.options: expected a table, got a text"),
        (f"[chains]\nmain = '{SECRET}'\n", ":2: chains.main: expected a table, got a text"),
        ("chains = 7\n", ":1: chains: expected a table, got a number"),
        (
            f"[archive]\nsecret_key_file = ['{SECRET}']\n",
            ":2: archive.secret_key_file: expected the path of a file, got a list",
        ),
    ],
)
def test_what_stands_where_a_table_belongs_is_not_told(file: Path, text: str, said: str) -> None:
    assert told(file, text)[0] == f"sealstream.toml{said}"


def test_an_option_that_sounds_like_a_secret_is_one(file: Path) -> None:
    file.write_text(
        f"""\
[kafka.options]
"sasl.oauthbearer.assertion.private.key.passphrase" = "{SECRET}"
"sasl.oauthbearer.config" = "token={SECRET}"
"client.rack" = "r1"
[archive]
endpoint_url = "https://k:{SECRET}@s3.example.com"
"""
    )
    said = say(file, "config", "show", "--given")
    assert SECRET not in said.out
    assert "r1" in said.out
    assert "https://k:********@s3.example.com" in said.out
    place = archive_settings(read(Settings, file, {}).settings)
    assert place.endpoint == "https://s3.example.com"
    assert SECRET not in place.told(f'Could not connect to the endpoint URL: "{place.endpoint_url}/b"')
    (file.parent / "pw").write_text("of a file")
    options = loaded(file, "[kafka.options]\n'sasl.oauthbearer.assertion.private.key.passphrase_file' = 'pw'\n")
    assert options.settings.kafka.options == {"sasl.oauthbearer.assertion.private.key.passphrase": "of a file"}


def test_a_section_that_somebody_adds_is_read_and_shown_like_the_others(file: Path) -> None:
    class Metrics(BaseModel):
        port: int = 9090
        tags: list[str] = []

    class More(Settings):
        metrics: Metrics = Metrics()

    file.write_text("[metrics]\nport = 9\n")
    found = read(More, file, {"SEALSTREAM_METRICS__TAGS": '["a"]'})
    rows = {row.name: (row.value, str(row.origin)) for row in shown(found)}
    assert rows["metrics.port"] == (9, f"{file}:2")
    assert rows["metrics.tags"] == (["a"], "SEALSTREAM_METRICS__TAGS")
