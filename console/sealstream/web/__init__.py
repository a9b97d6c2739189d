"""The HTTP API: search, entries, export, chains, checkpoints and verification state, for programs with tokens.

`create_app(service)` is the ASGI application; `serve` runs it. What a caller may see is decided in `guard` and made part
of each query in `searching`; each answer is recorded in the log before it leaves (`sealstream.access`).
"""

from sealstream.web.app import create_app
from sealstream.web.service import ServedChain, Service
from sealstream.web.serving import check_may_listen, serve
from sealstream.web.settings import ServeSection
from sealstream.web.tokens import ALL_CHAINS, ROLES, Role, Token, TokenFile, new_token
from sealstream.web.verifying import Verifications

__all__ = [
    "ALL_CHAINS",
    "ROLES",
    "Role",
    "ServeSection",
    "ServedChain",
    "Service",
    "Token",
    "TokenFile",
    "Verifications",
    "check_may_listen",
    "create_app",
    "new_token",
    "serve",
]
