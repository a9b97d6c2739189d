"""The part of `config check` about the collector: its files, its keys, and how it is reached. Reads files alone."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sealstream.cli.collect import keys_file, raw_topics
from sealstream.cli.findings import Finding, ok, warning, wrong
from sealstream.cli.settings import Settings
from sealstream.errors import Misconfigured
from sealstream.web.settings import is_loopback

__all__ = ["check_collect"]

_ABOUT = "collect"
_SOON = timedelta(days=14)


def check_collect(settings: Settings, config: Path) -> Sequence[Finding]:
    """Nothing where the settings have no collector."""
    if not settings.has_collector:
        return []
    from sealstream.collect.serving import check_may_collect

    section, keys = settings.collect, keys_file(settings, config)
    try:
        check_may_collect(section, keys)
    except Misconfigured as error:
        return [wrong(_ABOUT, str(error))]
    now, findings = datetime.now(UTC), []
    where = f"{section.host} port {section.port}, {'TLS' if section.tls_cert else 'no TLS'}"
    if section.tls_cert or is_loopback(section.host):
        findings.append(ok(_ABOUT, where))
    else:
        to_do = "set collect.tls_cert and collect.tls_key, or let a proxy with TLS stand before it"
        findings.append(warning(_ABOUT, f"{where}: keys and events can be read on the way", to_do))
    counting = [key for key in keys.all() if key.counts(now)]
    made_by = "`sealstream collect keys create NAME --chain CHAIN`"
    if not counting:
        findings.append(warning(_ABOUT, f"no key counts in {keys.path}: every request is refused", made_by))
        return findings
    findings.append(ok(_ABOUT, f"{len(counting)} key{'s' * (len(counting) != 1)} in {keys.path}"))
    topics = raw_topics(settings)
    for key in counting:
        if key.chain not in topics:
            said = f"key {key.name} is tied to chain {key.chain}, which is not open here: its requests are refused"
            findings.append(warning(_ABOUT, said, f"{made_by} for another chain, and revoke this one"))
        if key.expires_at is not None and key.expires_at - now < _SOON:
            said = f"key {key.name} expires at {key.expires_at:%Y-%m-%d %H:%M} UTC"
            findings.append(warning(_ABOUT, said, f"{made_by}, give it to its holder, then revoke this one"))
        if key.certificate and not section.client_ca:
            said = f"key {key.name} is a client's certificate, and nobody is asked for one"
            findings.append(warning(_ABOUT, said, "set collect.client_ca, or revoke it"))
    return findings
