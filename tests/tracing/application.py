"""An application that uses OpenTelemetry, as a process of its own: a provider is set once in a process, for good.

    python application.py BOOTSTRAP PREFIX CHAIN ENDPOINT RATIO COUNT [SPOOL]

Emits one event in each of `COUNT` traces of its own, of which it samples `RATIO`, and prints, for each, the trace and
whether it is sampled.
"""

from __future__ import annotations

import sys

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

from sealstream.client import AuditClient


def main(bootstrap: str, prefix: str, chain: str, endpoint: str, ratio: str, count: str, spool: str = "") -> None:
    provider = TracerProvider(
        sampler=ParentBased(TraceIdRatioBased(float(ratio))), resource=Resource.create({"service.name": "clinic"})
    )
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{endpoint}/v1/traces")))
    trace.set_tracer_provider(provider)
    tracer = trace.get_tracer("clinic")
    keeps = {"mode": "spool", "spool_directory": spool} if spool else {}
    with AuditClient(chain, bootstrap, prefix=prefix, **keeps) as audit:  # type: ignore[arg-type]
        for n in range(int(count)):
            with tracer.start_as_current_span("GET /patients") as span:
                event_id = audit.emit("read", resource_type="patient", resource_id=f"p-{n}", actor_id="secret-name")
            context = span.get_span_context()
            print(f"{context.trace_id:032x}", event_id, int(context.trace_flags.sampled), flush=True)
    provider.shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
