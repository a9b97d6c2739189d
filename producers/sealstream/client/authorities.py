"""Whom the driver trusts when it fetches a token (OAUTHBEARER, method oidc) over HTTPS: those that the system trusts.

The HTTP client inside confluent-kafka's wheels looks for them where Red Hat keeps them, and nowhere else; brokers'
certificates it checks with what the system has.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any

__all__ = ["with_authorities"]

_METHOD = "sasl.oauthbearer.method"
_GIVEN = ("https.ca.location", "https.ca.pem")


def with_authorities(options: Mapping[str, Any]) -> dict[str, Any]:
    """The driver's options, with `https.ca.location` where they fetch tokens and name no authorities themselves."""
    if options.get(_METHOD) != "oidc" or any(each in options for each in _GIVEN):
        return dict(options)
    paths = ssl.get_default_verify_paths()
    system = paths.cafile or paths.capath
    return {"https.ca.location": system, **options} if system else dict(options)
