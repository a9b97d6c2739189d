"""E-mail: SMTP with STARTTLS (RFC 3207), or with TLS from the first byte; never without TLS.

A mail is taken when the server has taken it for every recipient. A recipient that the server refuses makes a letter,
though others have the mail: a person must mend the address.
"""

from __future__ import annotations

import smtplib
import socket
import ssl
from collections.abc import Sequence
from urllib.parse import urlsplit

from sealstream.errors import Misconfigured, Unavailable
from sealstream.forward.addresses import Guard, NotAllowed, connected, tls_context
from sealstream.forward.formats.mail import mail_of
from sealstream.forward.messages import Message
from sealstream.forward.outcomes import Outcome, later, refused, taken, unsure
from sealstream.forward.senders.sending import Prepared
from sealstream.forward.targets import Target

__all__ = ["MailSender"]

_PORTS = {"smtp+starttls": 587, "smtps": 465}
# About the session and not about the mail: authentication wanted or failed, TLS wanted.
_ABOUT_THE_TARGET = frozenset({502, 503, 504, 530, 534, 535, 538})


class MailSender:
    """One server and its recipients. Alerts that waited together go in one mail."""

    most = 50
    most_bytes = 1_000_000

    def __init__(self, target: Target) -> None:
        parts = urlsplit(target.url)
        self._target = target
        self._name = parts.hostname or ""
        self._port = parts.port or _PORTS[parts.scheme]
        self._at_once = parts.scheme == "smtps"
        self._guard = Guard.of(target.allow_networks)
        self._context = tls_context(target.ca_file, target.certificate_file, target.key_file)

    def prepare(self, message: Message) -> Prepared:
        return Prepared(message, mail_of(self._target, [message]).as_bytes())

    def send(self, messages: Sequence[Prepared]) -> Outcome:
        mail = mail_of(self._target, [each.message for each in messages])
        try:
            with self._session() as session:
                refusals = session.send_message(mail)
        except smtplib.SMTPRecipientsRefused as error:
            return _of_recipients(error.recipients, nobody=True)
        except smtplib.SMTPResponseException as error:
            return _of_code(error.smtp_code, _text(error.smtp_error))
        except (NotAllowed, Unavailable) as error:
            return later(str(error))
        except smtplib.SMTPNotSupportedError as error:
            return unsure(f"{self._name}: {error}")
        except (smtplib.SMTPException, OSError) as error:
            return later(f"{self._name}:{self._port}: {error}")
        if refusals:
            return _of_recipients(refusals, nobody=False)
        return taken(f"{self._name} took it for {', '.join(self._target.recipients)}")

    def try_out(self) -> str:
        """Connects, with TLS, signs in, and sends no mail."""
        try:
            with self._session() as session:
                session.noop()
        except smtplib.SMTPNotSupportedError as error:
            raise Misconfigured(f"{self._name}: {error}") from error
        except smtplib.SMTPResponseException as error:
            raise Misconfigured(f"{self._name}: {error.smtp_code} {_text(error.smtp_error)}") from error
        except (smtplib.SMTPException, OSError) as error:
            raise Unavailable(f"{self._name}:{self._port}: {error}") from error
        return f"{self._name} takes mail{f' of {self._target.username}' if self._target.username else ''}, with TLS"

    def close(self) -> None:
        """Nothing is kept open."""

    def _session(self) -> smtplib.SMTP:
        session = _Pinned(self._guard, self._name, self._port, self._target.timeout_s, self._context, self._at_once)
        try:
            session.ehlo()
            if not self._at_once:
                session.starttls(context=self._context)
                session.ehlo()
            if self._target.username:
                session.login(self._target.username, self._target.secret)
        except BaseException:
            session.close()
            raise
        return session


class _Pinned(smtplib.SMTP):
    """Connects to an address that was judged; the certificate is checked for the name all the same."""

    def __init__(
        self, guard: Guard, name: str, port: int, timeout_s: float, context: ssl.SSLContext, at_once: bool
    ) -> None:
        self._guard = guard
        self._tls = context if at_once else None
        super().__init__(name, port, timeout=timeout_s)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        opened = connected(self._guard, host, port, timeout)
        if self._tls is None:
            return opened
        try:
            return self._tls.wrap_socket(opened, server_hostname=host)
        except BaseException:
            opened.close()
            raise


def _of_recipients(refusals: dict[str, tuple[int, bytes]], *, nobody: bool) -> Outcome:
    told = "; ".join(f"{address}: {code} {_text(said)}" for address, (code, said) in refusals.items())
    waiting = all(400 <= code < 500 for code, _ in refusals.values())
    if nobody and waiting:
        return later(told)
    return refused(f"{'no recipient was' if nobody else 'not every recipient was'} accepted: {told}")._replace(
        whole=True
    )


def _of_code(code: int, said: str) -> Outcome:
    words = f"{code} {said}"
    if code in _ABOUT_THE_TARGET:
        return unsure(words)
    return refused(words) if 500 <= code < 600 else later(words)


def _text(said: bytes | str) -> str:
    return " ".join((said.decode(errors="replace") if isinstance(said, bytes) else said).split())[:300]
