"""The HTTP API: search, entries, export, chains, checkpoints and verification state, for programs with tokens.

`app.create_app(service)` is the ASGI application; `serving.serve` runs it. What a caller may see is decided in `guard`
and made part of each query in `searching`; each answer is recorded in the log before it leaves (`sealstream.access`).
Here stands only what needs none of the extra `[console]`: commands that never serve import it, too.
"""

from sealstream.web.settings import ServeSection
from sealstream.web.tokens import ALL_CHAINS, ROLES, Role, Token, TokenFile, new_token

__all__ = ["ALL_CHAINS", "ROLES", "Role", "ServeSection", "Token", "TokenFile", "new_token"]
