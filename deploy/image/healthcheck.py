#!/usr/local/bin/python3 -IS
"""Asks the process in this container how it is, at its own probe: exit 0 when it answers 200, else 1 and its words.

    healthcheck                                   http://127.0.0.1:9464/healthz, the port of --metrics-port
    healthcheck readyz                            another path there
    healthcheck https://127.0.0.1:8480/readyz     another address; its certificate is not checked: it is this container

It runs every few seconds in each container, so it imports next to nothing: with urllib it takes three times as long.
"""

import os
import socket
import sys

_TIMEOUT_S = 8


def address(asked: str) -> "tuple[bool, str, int, str]":
    """Whether by TLS, host, port and path, of a path or a whole address. The port of a path: HEALTHCHECK_PORT, 9464."""
    if "://" not in asked:
        return False, "127.0.0.1", int(os.environ.get("HEALTHCHECK_PORT", "9464")), "/" + asked.lstrip("/")
    scheme, _, rest = asked.partition("://")
    place, _, path = rest.partition("/")
    host, _, port = place.partition(":")
    return scheme == "https", host, int(port or (443 if scheme == "https" else 80)), "/" + path


def ask(tls: bool, host: str, port: int, path: str) -> "tuple[bool, str]":
    """Whether the answer is 200, and what it says. HTTP/1.0: the answer ends with the connection."""
    with socket.create_connection((host, port), timeout=_TIMEOUT_S) as plain:
        connection = plain
        if tls:
            import ssl

            connection = ssl._create_unverified_context().wrap_socket(plain)
        connection.sendall(f"GET {path} HTTP/1.0\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while len(answer) < 4_000 and (part := connection.recv(4_000)):
            answer += part
    head, _, body = answer.partition(b"\r\n\r\n")
    status, words = head.split(b" ", 2)[1].decode(), body.decode(errors="replace")
    return status == "200", words if status == "200" else f"{status} {words}"


if __name__ == "__main__":
    asked = sys.argv[1] if len(sys.argv) > 1 else "healthz"
    try:
        well, words = ask(*address(asked))
    except (OSError, IndexError) as error:
        well, words = False, f"{asked} does not answer: {error}"
    print(words.strip())
    sys.exit(0 if well else 1)
