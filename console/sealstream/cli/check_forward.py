"""The part of `config check` about targets: each is reached as far as that goes without a message."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sealstream.cli.findings import Finding, ok, warning, wrong
from sealstream.errors import SealstreamError, Unavailable
from sealstream.forward import NotAllowed, Target, sender_of
from sealstream.forward.senders import waiting

__all__ = ["forward_checks"]

_TIMEOUT_S = 5.0


def forward_checks(targets: Sequence[Target]) -> list[tuple[str, Callable[[], Sequence[Finding]]]]:
    """One check for each target."""
    return [(_about(target), lambda target=target: _check(target)) for target in targets]  # type: ignore[misc]


def _check(target: Target) -> Sequence[Finding]:
    about = _about(target)
    findings = []
    if target.url.startswith("http://"):
        said = "what is sent can be read on the way"
        findings.append(warning(about, said, "give the receiver a certificate, and use https://"))
    try:
        sender = sender_of(target._replace(timeout_s=min(target.timeout_s, _TIMEOUT_S)), waiting)
    except SealstreamError as error:
        return [*findings, wrong(about, str(error))]
    try:
        said = sender.try_out()
    except NotAllowed as error:
        return [*findings, wrong(about, str(error))]
    except Unavailable as error:
        return [*findings, wrong(about, str(error), "messages wait for it, and are tried for as long as that lasts")]
    except SealstreamError as error:
        return [*findings, wrong(about, str(error), f"`sealstream forward test {target.name}` shows a whole answer")]
    finally:
        sender.close()
    return [*findings, ok(about, f"{target.kind}: {said}")]


def _about(target: Target) -> str:
    return f"target {target.name}"
