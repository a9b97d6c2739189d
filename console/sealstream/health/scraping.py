"""A process's own word, over HTTP: its probes and figures, as `sealstream status` asks for them. Reading only."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from http.client import HTTPException
from typing import Any

from sealstream.health.judging import ProcessView

__all__ = ["scraped"]

_OURS = "sealstream_"
_MOST_BYTES = 4_000_000
_open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open  # a proxy has no business between these


def scraped(process: ProcessView, within_s: float = 1.0) -> ProcessView:
    """The view with what its probes and figures say, or with why they could not be had. `within_s`: of each answer."""
    from prometheus_client.parser import text_string_to_metric_families

    try:
        alive, ready = (json.loads(_get(f"{process.url}{path}", within_s)) for path in ("/healthz", "/readyz"))
        because: Any = [*alive["because"], *ready["because"]]
        said = (bool(alive["alive"]), bool(ready["ready"]), tuple(map(str, because)), str(ready.get("runbook", "")))
        families = list(text_string_to_metric_families(_get(f"{process.url}/metrics", within_s)))
    except (KeyError, TypeError, AttributeError):
        return process._replace(trouble="something else than a process of Sealstream answers there")
    except (OSError, ValueError, HTTPException) as error:
        reason = getattr(error, "reason", error)
        return process._replace(trouble=str(getattr(reason, "strerror", None) or reason or type(error).__name__))
    figures = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
        if sample.name.startswith(_OURS)
    }
    is_alive, is_ready, why, runbook = said
    return process._replace(alive=is_alive, ready=is_ready, because=why, runbook=runbook, told=figures)


def _get(url: str, within_s: float) -> str:
    """The body; a probe that says no (503) is an answer too."""
    try:
        with _open(url, timeout=within_s) as answer:
            return str(answer.read(_MOST_BYTES), "utf-8")
    except urllib.error.HTTPError as error:
        if error.code == 503:
            return str(error.read(_MOST_BYTES), "utf-8")
        raise
