/** The trace that the running code belongs to, where OpenTelemetry or a W3C header tells one. OpenTelemetry is never
 * imported: its API leaves itself in a global place, and only there is it asked. */

const TRACEPARENT = /^(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}/; // W3C Trace Context, section 3.2
const TRACE = /^(?!0{32})[0-9a-f]{32}$/;
const API = Symbol.for("opentelemetry.js.api.1");
const SPAN = Symbol.for("OpenTelemetry Context Key SPAN");

/** The trace in a `traceparent` header, 32 hex digits. */
export function traceIdOf(traceparent: unknown): string | undefined {
  const found = typeof traceparent === "string" ? TRACEPARENT.exec(traceparent)?.[1] : undefined;
  return found !== undefined && TRACE.test(found) ? found : undefined;
}

interface OpenTelemetry {
  context?: {
    active?(): { getValue?(key: symbol): { spanContext?(): { traceId?: unknown } } | undefined } | undefined;
  };
}

/** The trace of OpenTelemetry's current span, 32 hex digits. */
export function currentTraceId(): string | undefined {
  try {
    const api = (globalThis as Record<symbol, unknown>)[API] as OpenTelemetry | undefined;
    const traceId = api?.context?.active?.()?.getValue?.(SPAN)?.spanContext?.().traceId;
    return typeof traceId === "string" && TRACE.test(traceId) ? traceId : undefined;
  } catch {
    return undefined;
  }
}
