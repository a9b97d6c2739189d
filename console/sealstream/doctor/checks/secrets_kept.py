"""Who can read secrets, and how long credentials last: files' modes, tokens of the API, keys of the collector."""

from __future__ import annotations

import stat
from collections.abc import Sequence
from datetime import datetime, timedelta

from sealstream.collect.keys import KeyFile
from sealstream.doctor.asking import Asking
from sealstream.doctor.outcomes import Check, Outcome, failed, passed
from sealstream.web import TokenFile
from sealstream.web.credentials import Credential

__all__ = ["CHECKS"]

_LONGEST = timedelta(days=366)


def _files(asking: Asking) -> Outcome:
    system = asking.system
    files = [*system.secret_files, *(file for file in (system.token_file, system.key_file) if file.exists())]
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in files if path.exists()}
    open_to_others = [path for path, mode in modes.items() if mode & (stat.S_IRWXO | stat.S_IWGRP)]
    said = [f"{path}: mode {mode:04o}" for path, mode in modes.items()]
    if open_to_others:
        return failed(*said, to_do="; ".join(f"chmod 600 {path}" for path in open_to_others))
    if system.secret_variables:
        return failed(
            f"{', '.join(system.secret_variables)}: in the environment, which child processes inherit",
            *said,
            to_do="put each into a file, and name it by the variable with _FILE (docs/configuration.md)",
        )
    return passed(*(said or ["the settings hold no secret"]))


def _credentials(asking: Asking) -> Outcome:
    now = asking.system.clock()
    tokens = TokenFile(asking.system.token_file).all() if asking.system.token_file.exists() else []
    keys = KeyFile(asking.system.key_file).all() if asking.system.key_file.exists() else []
    endless = [f"token {each.name}" for each in _endless(tokens, now)] + [
        f"key {each.name}" for each in _endless(keys, now)
    ]
    active = sum(each.counts(now) for each in (*tokens, *keys))
    said = f"{active} tokens and keys count"
    if endless:
        return failed(
            f"{said}; of these never, or not within a year, end: {', '.join(endless)}",
            to_do="make new ones with --expires, and revoke these (`sealstream tokens`, `sealstream collect keys`)",
        )
    return passed(f"{said}, and each ends within a year")


def _endless(credentials: Sequence[Credential], now: datetime) -> list[Credential]:
    return [
        each
        for each in credentials
        if each.counts(now) and (each.expires_at is None or each.expires_at - now > _LONGEST)
    ]


CHECKS = (
    Check(
        "secrets.files",
        "files with secrets are readable by their owner and group at most, and no secret is in the environment",
        "the modes of the files that the settings read secrets from; the variables' names",
        _files,
    ),
    Check(
        "secrets.credentials",
        "tokens of the API and keys of the collector end within a year",
        "the files that know them by their hashes",
        _credentials,
    ),
)
