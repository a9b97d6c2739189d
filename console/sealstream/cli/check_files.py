"""The part of `config check` that needs no server: keys, secrets' files, the settings file. Reads files alone."""

from __future__ import annotations

import stat
from collections.abc import Sequence
from pathlib import Path

from sealstream.checkpointing import load_signer
from sealstream.cli.findings import Finding, ok, skipped, warning, wrong
from sealstream.cli.settings import Settings
from sealstream.errors import Misconfigured
from sealstream.sealing import BadNote, parse_vkey
from sealstream.settings import Loaded, shown

__all__ = ["check_files", "check_keys"]


def check_files(loaded: Loaded[Settings]) -> Sequence[Finding]:
    """Whether others can read what holds secrets."""
    rows = [row for row in shown(loaded) if row.secret and row.value]
    beside = {Path(row.origin.secret_file) for row in rows if row.origin.secret_file}
    inside = any(row.origin.file and not row.origin.secret_file for row in rows)
    findings = []
    key_file = Path(loaded.settings.kafka.key_file)
    if key_file.is_file():  # Kafka's own check says when it is not there
        beside.add(key_file)
    for path in [*([loaded.file] if inside else []), *sorted(beside)]:
        mode = stat.S_IMODE(path.stat().st_mode)
        about = "secrets"
        if mode & stat.S_IROTH:
            findings.append(
                warning(
                    about, f"{path} holds a secret, and everybody can read it (mode {mode:04o})", f"chmod 600 {path}"
                )
            )
        else:
            findings.append(ok(about, f"{path}: not everybody can read it (mode {mode:04o})"))
    variables = sorted(row.origin.variable for row in rows if row.origin.variable and not row.origin.secret_file)
    if variables:
        findings.append(
            ok(
                "secrets",
                f"{', '.join(variables)}: in the environment, where this user's other processes can read them",
            )
        )
    return findings


def check_keys(settings: Settings, folder: Path) -> Sequence[Finding]:
    """Each chain's public key, and its signing key where there is one."""
    findings = []
    for name, section in sorted(settings.chains.items()):
        about, origin = f"chain {name}", f"{settings.log}/{name}"
        try:
            named = parse_vkey(section.vkey).name
        except BadNote as error:
            findings.append(wrong(about, f"vkey is no verifier key: {error}", "take it from the key's owner again"))
            continue
        if named != origin:
            findings.append(
                wrong(
                    about,
                    f"vkey is the key of {named}: expected {origin}",
                    "log and the chain's name are sealed in entry 0: put the right ones into the settings",
                )
            )
        elif section.closed_at:
            findings.append(skipped(about, f"closed at {section.closed_at}, goes on as {section.continued_as}"))
        elif not section.key_file:
            findings.append(skipped(about, "no signing key here: right everywhere but where its checkpointing runs"))
        else:
            findings.append(_key(about, folder / section.key_file, origin, section.vkey))
    return findings


def _key(about: str, path: Path, origin: str, vkey: str) -> Finding:
    try:
        signer = load_signer(path, origin)
    except Misconfigured as error:
        what = f"; {error.runbook}" if error.runbook else ""
        return wrong(about, str(error), f"if checkpointing does not run here, remove key_file{what}")
    if signer.vkey != vkey:
        return wrong(
            about,
            f"key file {path} is another key than the settings' vkey: expected {vkey}, got {signer.vkey}",
            "put the right key file back: signing with another key would be a fork",
        )
    return ok(about, f"signing key {path}: mode 0600, fits its vkey; only checkpointing should be able to read it")
