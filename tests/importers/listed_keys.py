"""CloudTrail's ListPublicKeys, for a real client to ask."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import TracebackType
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa
from tests.importers.trails import fingerprint, pkcs1

__all__ = ["ListedKeys"]


class ListedKeys:
    """`url`: where it listens; `asked`: each question; `a_page`: so many keys are on one."""

    def __init__(self, keys: Sequence[rsa.RSAPrivateKey], a_page: int = 1) -> None:
        self.asked: list[dict[str, Any]] = []
        answering = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                answering.asked.append(question)
                first = int(question.get("NextToken", "0"))
                page = [
                    {"Value": base64.b64encode(pkcs1(key)).decode(), "Fingerprint": fingerprint(key)}
                    for key in keys[first : first + a_page]
                ]
                more = {"NextToken": str(first + a_page)} if first + a_page < len(keys) else {}
                body = json.dumps({"PublicKeyList": page, **more}).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/x-amz-json-1.1")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> ListedKeys:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
