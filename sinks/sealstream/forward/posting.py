"""One HTTP request to a target, to an address that was judged; never a redirect, never a proxy.

The connection is kept between requests and given up after a failure or some minutes, so that a changed name is seen.
Of an answer at most 64 KB are read, within the target's time; so a receiver can hold up its own target and no other.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from http.cookies import CookieError, SimpleCookie
from typing import NamedTuple
from urllib.parse import urlsplit

import urllib3
from urllib3.exceptions import HTTPError

from sealstream.errors import Misconfigured, Unavailable
from sealstream.forward.addresses import Guard, NotAllowed, connected, tls_context
from sealstream.forward.outcomes import Outcome, later, of_status
from sealstream.forward.targets import Target

__all__ = ["Answer", "Poster", "attempted", "outcome_of"]

_MOST_BYTES = 65_536
_SHOWN = 300
_KEEP_S = 300.0


class Answer(NamedTuple):
    """`status`, the first 64 KB of the body, and the two headers that matter."""

    status: int
    body: bytes
    retry_after: str | None = None
    location: str | None = None

    @property
    def said(self) -> str:
        """The body as a person may see it, on one line."""
        if self.location is not None and 300 <= self.status < 400:
            return f"to {self.location[:_SHOWN]}"
        return " ".join(self.body[: 4 * _SHOWN].decode(errors="replace").split())[:_SHOWN]


def outcome_of(answer: Answer) -> Outcome:
    """What its status says."""
    return of_status(answer.status, answer.said, answer.retry_after, datetime.now(UTC))


class Poster:
    """Requests of one target, one after another, from one thread. `close` it."""

    def __init__(self, target: Target) -> None:
        parts = urlsplit(target.url)
        self._host = parts.hostname or ""
        self._tls = parts.scheme == "https"
        try:
            self._port = parts.port or (443 if self._tls else 80)
        except ValueError as error:
            raise Misconfigured(f"target {target.name}: the port of its url is no number up to 65535") from error
        self._path = parts._replace(scheme="", netloc="", fragment="").geturl() or "/"
        bracketed = f"[{self._host}]" if ":" in self._host else self._host
        self._host_header = bracketed if parts.port is None else f"{bracketed}:{parts.port}"
        self._guard = Guard.of(target.allow_networks, only=not self._tls)
        self._timeout_s = target.timeout_s
        self._context = tls_context(target.ca_file, target.certificate_file, target.key_file) if self._tls else None
        self._headers = {"User-Agent": "sealstream", **target.headers}
        self._pool: urllib3.HTTPConnectionPool | None = None
        self._opened_at = 0.0
        self._cookies: dict[str, str] = {}

    def post(self, body: bytes, headers: Mapping[str, str], *, path: str | None = None, method: str = "POST") -> Answer:
        """The answer, whatever its status. `path`: another than the target's own.

        Raises `Unavailable` when there was none, `NotAllowed` when the address may not be connected to.
        """
        if self._pool is not None and time.monotonic() - self._opened_at > _KEEP_S:
            self.close()
        sent = {"Host": self._host_header, **self._headers, **headers}
        if self._cookies:  # a load balancer in front of several receivers keeps us at one
            sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in self._cookies.items())
        if self._pool is not None:
            try:
                return self._asked(self._pool, body, sent, path or self._path, method)
            except HTTPError as error:
                self.close()
                raise Unavailable(self._told(error)) from error
        reasons: list[str] = []
        for address in self._guard.resolve(self._host, self._port):
            self._pool = self._pool_to(address)
            try:
                answer = self._asked(self._pool, body, sent, path or self._path, method)
            except HTTPError as error:
                self.close()
                reasons.append(self._told(error))
                if not isinstance(error, urllib3.exceptions.ConnectTimeoutError):  # it may have got the message
                    break
            else:
                self._opened_at = time.monotonic()
                return answer
        raise Unavailable("; ".join(reasons))

    def try_to_connect(self) -> str:
        """Connect, with TLS where the address has it, and send nothing. Whom it led to; raises as `post`."""
        opened = connected(self._guard, self._host, self._port, self._timeout_s)
        try:
            address = str(opened.getpeername()[0])
            if self._context is None:
                return f"{self._host} ({address}) takes connections"
            with self._context.wrap_socket(opened, server_hostname=self._host) as secured:
                return f"{self._host} ({address}) takes connections with {secured.version()}"
        except OSError as error:  # TLS errors are such
            raise Unavailable(f"{self._host}:{self._port}: {error}") from error
        finally:
            opened.close()

    def close(self) -> None:
        """Ends the connection; the next request opens another. Can be called twice."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()

    def _pool_to(self, address: str) -> urllib3.HTTPConnectionPool:
        timeout = urllib3.Timeout(connect=self._timeout_s, read=self._timeout_s)
        if self._context is None:
            return urllib3.HTTPConnectionPool(address, self._port, timeout=timeout, maxsize=1, retries=False)
        return urllib3.HTTPSConnectionPool(
            address,
            self._port,
            timeout=timeout,
            maxsize=1,
            retries=False,
            ssl_context=self._context,
            server_hostname=self._host,  # what the certificate must be of, and what is asked for (SNI)
        )

    def _asked(
        self, pool: urllib3.HTTPConnectionPool, body: bytes, headers: Mapping[str, str], path: str, method: str
    ) -> Answer:
        deadline = time.monotonic() + self._timeout_s
        response = pool.urlopen(
            method, path, body, headers, redirect=False, retries=False, preload_content=False, assert_same_host=False
        )
        try:
            read = bytearray()
            while len(read) < _MOST_BYTES and time.monotonic() < deadline:
                part = response.read1(_MOST_BYTES - len(read), decode_content=False)
                if not part:
                    break
                read += part
            else:
                response.close()  # what is left of it is nothing that the next request may find
            for cookie in response.headers.getlist("Set-Cookie"):
                self._keep(cookie)
            return Answer(
                response.status, bytes(read), response.headers.get("Retry-After"), response.headers.get("Location")
            )
        finally:
            response.release_conn()

    def _keep(self, cookie: str) -> None:
        try:
            parsed = SimpleCookie(cookie)
        except CookieError:
            return
        for name, morsel in parsed.items():
            if len(self._cookies) < 20 and len(morsel.value) < 2_000:
                self._cookies[name] = morsel.coded_value

    def _told(self, error: Exception) -> str:
        """Without the address's path: it may be a secret."""
        reason = getattr(error, "reason", None) or (error.args[-1] if error.args else error)
        return f"{self._host}:{self._port}: {str(reason)[:_SHOWN] or type(error).__name__}"


def attempted(post: Poster, body: bytes, headers: Mapping[str, str], path: str | None = None) -> Outcome:
    """One request's outcome. No answer, or a forbidden address: nothing is wrong with the message."""
    try:
        return outcome_of(post.post(body, headers, path=path))
    except (NotAllowed, Unavailable) as error:
        return later(str(error))
