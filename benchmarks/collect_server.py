"""Serves one of the two that bench_collect compares: our collector, or a bare Starlette endpoint that only produces.

Both on the same server with the same options, and with the same producer; the bare one takes any bytes from anybody.

    python benchmarks/collect_server.py ours|bare BOOTSTRAP TOPIC PORT KEYS_FILE
"""

from __future__ import annotations

import sys
from pathlib import Path

import structlog
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sealstream.collect import CollectSection, KeyFile
from sealstream.collect.app import create_app
from sealstream.collect.delivering import Deliveries
from sealstream.collect.service import Collector
from sealstream.collect.serving import serve_collector
from sealstream.kafka import KafkaSettings


def bare(deliveries: Deliveries, topic: str) -> Starlette:
    """Body in, record out, 202 when it is acknowledged."""

    async def post(request: Request) -> Response:
        body = await request.body()
        await deliveries.send(topic, body.splitlines() if b"\n" in body else [body])
        return Response(b'{"accepted":1}', 202, media_type="application/json")

    return Starlette(routes=[Route("/v1/events", post, methods=["POST"])])


def main() -> int:
    """Until told to stop."""
    which, bootstrap, topic, port, keys = sys.argv[1:]
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    section = CollectSection(port=int(port), requests_per_minute=10_000_000, requests_at_once=1_000)
    deliveries = Deliveries(
        KafkaSettings(bootstrap), queue_bytes=section.memory_bytes, timeout_s=section.acknowledged_in_seconds
    )
    if which == "bare":
        return serve_collector(bare(deliveries, topic), section)
    collector = Collector(section, {"main": topic}, KeyFile(Path(keys)), deliveries, dict)
    return serve_collector(create_app(collector), section)


if __name__ == "__main__":
    sys.exit(main())
