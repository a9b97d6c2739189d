"""Settings come from one file and the environment, and what is wrong with them is said by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from sealstream.cli.settings import find_config, load_settings, write_settings
from sealstream.errors import Misconfigured
from sealstream.layout import Retention, SegmentLimits

CHAIN = {"chains": {"main": {"vkey": "log/main+00000000+AA==", "key_file": "keys/main.key", "retention": "hipaa"}}}


def test_what_was_written_is_read_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "sealstream.toml"
    write_settings(path, {"log": "audit.example.com/clinic", **CHAIN})
    assert path.stat().st_mode & 0o777 == 0o600
    chain = load_settings(path).chain("main")
    assert chain.origin == "audit.example.com/clinic/main"
    assert chain.retention == Retention("hipaa", archive_days=6 * 366)
    assert chain.limits == SegmentLimits()


def test_a_second_write_keeps_comments_and_other_tables(tmp_path: Path) -> None:
    path = tmp_path / "sealstream.toml"
    path.write_text('# the clinic\nlog = "a/b"\n\n[kafka]\nbootstrap = "k:1"  # by the rack\n')
    write_settings(path, CHAIN)
    text = path.read_text()
    assert "# the clinic" in text
    assert "# by the rack" in text
    assert load_settings(path).kafka.bootstrap == "k:1"
    assert list(path.parent.iterdir()) == [path]


def test_the_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "sealstream.toml"
    path.write_text('[kafka]\nbootstrap = "file:1"\nprefix = "other"\n')
    monkeypatch.setenv("SEALSTREAM_KAFKA__BOOTSTRAP", "environment:2")
    settings = load_settings(path)
    assert (settings.kafka.bootstrap, settings.kafka.prefix) == ("environment:2", "other")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[kafka]\nbootstrp = 1\n", "kafka.bootstrp"),
        ("[chains.main]\n", "chains.main.vkey"),
        ('[kafka]\nreplication = "many"\n', "kafka.replication"),
        (
            '[chains.main]\nvkey = "a"\nretention = "sox"\n',
            r"sealstream.toml.*3.*chains.main.retention.*expected hipaa",
        ),
        ("unknown = 1\n", "unknown"),
        ("log = [", "can't be read"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, text: str, named: str) -> None:
    path = tmp_path / "sealstream.toml"
    path.write_text(text)
    with pytest.raises(Misconfigured, match=named):
        load_settings(path)


def test_a_chain_that_is_not_there_is_answered_with_those_that_are(tmp_path: Path) -> None:
    path = tmp_path / "sealstream.toml"
    write_settings(path, CHAIN)
    with pytest.raises(Misconfigured, match=r"'phi'.*known: main.*sealstream chain create phi"):
        load_settings(path).chain("phi")


def test_no_file_says_how_to_begin(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="sealstream up"):
        load_settings(tmp_path / "sealstream.toml")


def test_the_file_is_looked_for_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SEALSTREAM_CONFIG", raising=False)
    monkeypatch.delenv("SEALSTREAM_HOME", raising=False)
    assert find_config(None) == Path(".sealstream/sealstream.toml")
    monkeypatch.setenv("SEALSTREAM_HOME", "/srv/stack")  # where `sealstream up` then puts it
    assert find_config(None) == Path("/srv/stack/sealstream.toml")
    (tmp_path / "sealstream.toml").touch()
    assert find_config(None) == Path("sealstream.toml")
    monkeypatch.setenv("SEALSTREAM_CONFIG", "elsewhere.toml")
    assert find_config(None) == Path("elsewhere.toml")
    assert find_config(Path("given.toml")) == Path("given.toml")
