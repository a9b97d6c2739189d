"""`AuditClient.from_env()`: the client's settings from variables of the environment, as containers are configured.

`SEALSTREAM_CHAIN` and `SEALSTREAM_BOOTSTRAP`; everything else begins with `SEALSTREAM_CLIENT_`: each setting by its
name in capitals (`SEALSTREAM_CLIENT_SPOOL_DIRECTORY`), the source's members (`SEALSTREAM_CLIENT_SERVICE`; where that is
absent, OpenTelemetry's `OTEL_SERVICE_NAME`), and the driver's options (`SEALSTREAM_CLIENT_KAFKA__SASL_PASSWORD` is
`sasl.password`). With `_FILE` at its end a variable names a file that holds the value, for secrets;
`SEALSTREAM_CLIENT_SIGNING_KEY` is a path by itself, and the same with `_FILE`. Pure but for those files; the
environment is handed in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sealstream.errors import Misconfigured

__all__ = ["PREFIX", "settings_from"]

PREFIX = "SEALSTREAM_CLIENT_"
_KAFKA = f"{PREFIX}KAFKA__"
_FILE = "_FILE"
_SIGNING_KEY_FILE = f"{PREFIX}SIGNING_KEY{_FILE}"
_SOURCE = ("service", "version", "host", "environment")


def _truth(text: str) -> bool:
    if text.lower() in ("1", "true", "yes", "on"):
        return True
    if text.lower() in ("0", "false", "no", "off", ""):
        return False
    raise ValueError("expected true or false")


_SETTINGS: dict[str, Callable[[str], Any]] = {
    "prefix": str,
    "max_pending_bytes": int,
    "delivery_timeout_s": float,
    "exit_timeout_s": float,
    "strict": _truth,
    "signing_key": str,
    "mode": str,
    "spool_directory": str,
    "spool_max_bytes": int,
    "spool_fsync": str,
    "spool_fsync_interval_s": float,
}


def settings_from(environ: Mapping[str, str]) -> dict[str, Any]:
    """Arguments of `AuditClient`. Raises `Misconfigured`, naming the variable."""
    settings: dict[str, Any] = {}
    source: dict[str, str] = {}
    kafka: dict[str, str] = {}
    if "OTEL_SERVICE_NAME" in environ:
        source["service"] = environ["OTEL_SERVICE_NAME"]
    for name in ("chain", "bootstrap"):
        if value := environ.get(f"SEALSTREAM_{name.upper()}"):
            settings[name] = value
    for variable in sorted(each for each in environ if each.startswith(PREFIX)):
        text, name = environ[variable], variable
        if variable == _SIGNING_KEY_FILE:  # the client reads that file itself, and looks at its mode
            name = variable.removesuffix(_FILE)
        elif variable.endswith(_FILE):
            name, text = variable.removesuffix(_FILE), _read(variable, text)
        setting = name.removeprefix(PREFIX).lower()
        if name.startswith(_KAFKA):
            kafka[name.removeprefix(_KAFKA).lower().replace("_", ".")] = text
        elif setting in _SOURCE:
            source[setting] = text
        elif setting in _SETTINGS:
            try:
                settings[setting] = _SETTINGS[setting](text)
            except ValueError as error:
                raise Misconfigured(f"{variable} is {text!r}: {error}") from error
        else:
            known = ", ".join(sorted({*_SETTINGS, *_SOURCE}))
            raise Misconfigured(f"{variable}: the audit client has no setting {setting}: expected some of {known}")
    return {**settings, **({"source": source} if source else {}), **({"kafka_options": kafka} if kafka else {})}


def _read(variable: str, path: str) -> str:
    try:
        return Path(path).read_text().rstrip("\n")
    except OSError as error:
        raise Misconfigured(f"{variable} names {path}, which can't be read: {error.strerror}") from error
