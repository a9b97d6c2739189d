/**
 * `AuditClient.fromEnv()`: the client's settings from variables of the environment, as containers are configured.
 *
 * `SEALSTREAM_COLLECTOR_URL`, `SEALSTREAM_COLLECTOR_KEY`, and `SEALSTREAM_CLIENT_` with `SPOOL_DIRECTORY`,
 * `SPOOL_MAX_BYTES`, `MAX_PENDING_EVENTS`, `MAX_PENDING_BYTES`, `EXIT_TIMEOUT_S`, and for the source `SERVICE` (else
 * `OTEL_SERVICE_NAME`), `VERSION`, `HOST`, `ENVIRONMENT`. With `_FILE` at its end a variable names a file that holds the
 * value. Variables of the Python client that mean nothing here are passed over.
 */

import { readFileSync } from "node:fs";

import { Misconfigured } from "./errors.js";

export function settingsFrom(environment: NodeJS.ProcessEnv): {
  url: string;
  key?: string;
  source: Record<string, string>;
  spool?: { directory: string; maxBytes?: number };
  maxPendingEvents?: number;
  maxPendingBytes?: number;
  exitTimeoutMs?: number;
} {
  const text = (name: string): string | undefined => valueOf(environment, name);
  const number = (name: string): number | undefined => {
    const value = text(name);
    if (value === undefined) return undefined;
    if (!/^\d+(\.\d+)?$/.test(value)) throw new Misconfigured(`${name} is '${value}': expected a number`);
    return Number(value);
  };
  const key = text("SEALSTREAM_COLLECTOR_KEY");
  const directory = text("SEALSTREAM_CLIENT_SPOOL_DIRECTORY");
  const spoolBytes = number("SEALSTREAM_CLIENT_SPOOL_MAX_BYTES");
  const events = number("SEALSTREAM_CLIENT_MAX_PENDING_EVENTS");
  const bytes = number("SEALSTREAM_CLIENT_MAX_PENDING_BYTES");
  const exit = number("SEALSTREAM_CLIENT_EXIT_TIMEOUT_S");
  const source: Record<string, string> = {};
  for (const name of ["service", "version", "host", "environment"]) {
    const otherwise = name === "service" ? environment.OTEL_SERVICE_NAME : undefined;
    const value = text(`SEALSTREAM_CLIENT_${name.toUpperCase()}`) ?? otherwise;
    if (value) source[name] = value;
  }
  return {
    url: text("SEALSTREAM_COLLECTOR_URL") ?? "http://127.0.0.1:8481",
    ...(key === undefined ? {} : { key }),
    source,
    ...(directory ? { spool: { directory, ...(spoolBytes === undefined ? {} : { maxBytes: spoolBytes }) } } : {}),
    ...(events === undefined ? {} : { maxPendingEvents: events }),
    ...(bytes === undefined ? {} : { maxPendingBytes: bytes }),
    ...(exit === undefined ? {} : { exitTimeoutMs: exit * 1000 }),
  };
}

function valueOf(environment: NodeJS.ProcessEnv, name: string): string | undefined {
  const path = environment[`${name}_FILE`];
  if (!path) return environment[name] || undefined;
  try {
    return readFileSync(path, "utf8").replace(/\n+$/, "");
  } catch (error) {
    throw new Misconfigured(`${name}_FILE names ${path}, which can't be read: ${(error as NodeJS.ErrnoException).code}`);
  }
}
