#!/usr/local/bin/python3 -IS
"""Asks the process in this container how it is, at its own probe: exit 0 when it answers 200, else 1 and its words.

    healthcheck                                   http://127.0.0.1:9464/healthz, the port of --metrics-port
    healthcheck readyz                            another path there
    healthcheck https://127.0.0.1:8480/readyz     another address; its certificate is not checked: it is this container

Without third-party packages, and fast: it runs every few seconds beside the process.
"""

import os
import sys
import urllib.error
import urllib.request

_TIMEOUT_S = 8


def address(asked: str) -> str:
    """A path, or an address, as an address. The port: HEALTHCHECK_PORT, 9464."""
    if "://" in asked:
        return asked
    return f"http://127.0.0.1:{os.environ.get('HEALTHCHECK_PORT', '9464')}/{asked.lstrip('/')}"


def ask(url: str) -> "tuple[bool, str]":
    """Whether the answer is 200, and what it says."""
    context = None
    if url.startswith("https:"):
        import ssl  # half of the time that this takes

        context = ssl._create_unverified_context()
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S, context=context) as answer:
            return answer.status == 200, answer.read(2_000).decode(errors="replace")
    except urllib.error.HTTPError as error:
        return False, f"{error.code} {error.read(2_000).decode(errors='replace')}"
    except OSError as error:
        return False, f"{url} does not answer: {error}"


if __name__ == "__main__":
    well, words = ask(address(sys.argv[1] if len(sys.argv) > 1 else "healthz"))
    print(words.strip())
    sys.exit(0 if well else 1)
