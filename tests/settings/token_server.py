"""An authorization server as small as one can be: it gives tokens to clients that know their secret (RFC 6749, section
4.4), signed with a key whose public half it shows (RFC 7517), as Kafka's brokers ask for it.
"""

from __future__ import annotations

import base64
import json
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from tests.settings.authority import Issued

from sealstream.devstack.ports import HOST

__all__ = ["AUDIENCE", "ISSUER", "TokenServer", "https", "token_server"]

ISSUER = "https://login.example.com"
AUDIENCE = "kafka"
_KEY_ID = "of-the-tests"


class TokenServer:
    """`jwks_url`: for brokers, without TLS. `token_url`: for clients, with TLS. `secrets`: by client id.

    `audience` and `lifetime_s` of the next tokens may be changed; while it is `away`, there are none. `given` counts
    those that were given, by client.
    """

    def __init__(self, secrets: dict[str, str], token_port: int, jwks_port: int) -> None:
        self.secrets = secrets
        self.audience = AUDIENCE
        self.lifetime_s = 300
        self.away = False
        self.given: dict[str, int] = {}
        self.token_url = f"https://{HOST}:{token_port}/token"
        self.jwks_url = f"http://{HOST}:{jwks_port}/jwks"
        self._key = rsa.generate_private_key(65537, 2048)

    def jwks(self) -> dict[str, Any]:
        """The key that tokens are checked with."""
        public = self._key.public_key().public_numbers()
        modulus = _base64url(public.n.to_bytes(self._key.key_size // 8, "big"))
        exponent = _base64url(public.e.to_bytes(3, "big"))
        return {"keys": [{"kty": "RSA", "alg": "RS256", "use": "sig", "kid": _KEY_ID, "n": modulus, "e": exponent}]}

    def answer(self, authorization: str, form: dict[str, list[str]]) -> tuple[int, dict[str, Any]]:
        """Status and body for a request for a token."""
        if self.away:
            return 503, {"error": "temporarily_unavailable"}
        if form.get("grant_type") != ["client_credentials"]:
            return 400, {"error": "unsupported_grant_type"}
        kind, _, credentials = authorization.partition(" ")
        client, _, secret = base64.b64decode(credentials).decode().partition(":")
        client, secret = unquote(client), unquote(secret)
        if kind != "Basic" or not secret or self.secrets.get(client) != secret:
            return 401, {"error": "invalid_client"}
        self.given[client] = self.given.get(client, 0) + 1
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "aud": self.audience,
            "sub": client,
            "iat": now,
            "exp": now + self.lifetime_s,
            **({"scope": form["scope"][0]} if "scope" in form else {}),
        }
        return 200, {"access_token": self._signed(claims), "token_type": "Bearer", "expires_in": self.lifetime_s}

    def _signed(self, claims: dict[str, Any]) -> str:
        header = {"alg": "RS256", "typ": "JWT", "kid": _KEY_ID}
        signed = ".".join(_base64url(json.dumps(part).encode()) for part in (header, claims))
        signature = self._key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signed}.{_base64url(signature)}"


@contextmanager
def token_server(secrets: dict[str, str], ports: tuple[int, int], issued: Issued) -> Iterator[TokenServer]:
    """One that runs, at these ports (for tokens, for the key), with this certificate."""
    server = TokenServer(secrets, *ports)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._say(200, server.jwks())

        def do_POST(self) -> None:
            form = parse_qs(self.rfile.read(int(self.headers.get("Content-Length", "0"))).decode())
            if self.path != "/token":  # somebody was told a wrong address
                return self._say(200, server.jwks())
            return self._say(*server.answer(self.headers.get("Authorization", ""), form))

        def _say(self, status: int, body: dict[str, Any]) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """Nothing: what went wrong is in the answer."""

    with https(ports[0], Handler, issued), https(ports[1], Handler, None):
        yield server


@contextmanager
def https(port: int, handler: type[BaseHTTPRequestHandler], issued: Issued | None) -> Iterator[None]:
    """A server of HTTP at this port, with TLS where a certificate is given. A refused handshake is no news."""

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            """The client says what it did not like."""

    listening = Quiet((HOST, port), handler)
    if issued is not None:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(*issued)
        # Each handshake in its connection's own thread, when it first reads.
        listening.socket = tls.wrap_socket(listening.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=listening.serve_forever, args=(0.1,), daemon=True).start()
    try:
        yield
    finally:
        listening.shutdown()
        listening.server_close()


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
