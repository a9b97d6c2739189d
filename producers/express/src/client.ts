/**
 * `AuditClient`: from a call in an application to a numbered event in the queue for the collector.
 *
 * `log` fills in what the running request knows, makes the event acceptable, numbers and queues it. It never waits and
 * never throws, whatever an event holds and whatever state anything is in: what can't be sent is counted by reason,
 * warned of once, and reported in the log itself as `audit.loss`.
 */

import { hostname } from "node:os";

import { Adoption } from "./adoption.js";
import { Collector } from "./collector.js";
import type { Tls } from "./collector.js";
import { contextOf } from "./context.js";
import { settingsFrom } from "./environment.js";
import { InvalidEvent, Misconfigured } from "./errors.js";
import type { AuditEvent } from "./event.js";
import { newEventId } from "./ids.js";
import { Journal } from "./journal.js";
import type { Stats } from "./losses.js";
import { Redaction } from "./redaction.js";
import type { RedactionOptions } from "./redaction.js";
import { Patience, Sending } from "./sending.js";
import { ownerHere } from "./spool_owner.js";
import { Stream } from "./stream.js";
import type { Made } from "./stream.js";
import { currentTraceId } from "./tracing.js";
import { acceptable, checkNames } from "./values.js";
import { Warnings, wording } from "./warning.js";
import type { Logger } from "./warning.js";

type Ours = "id" | "timestamp" | "actor_id" | "actor_type" | "resource_id" | "result" | "source" | "old_values" | "new_values" | "metadata";
type Values = Readonly<Record<string, unknown>> | null;

/** What `log` takes: an event's fields, of which only these three are needed. */
export interface LoggedEvent extends Partial<Omit<AuditEvent, Ours | "producer_id" | "producer_seq" | "signature">> {
  action: string;
  resource_type: string;
  resource_id: string | number | bigint | { toJSON(): string };
  /** `success` unless told. */
  result?: AuditEvent["result"];
  /** Who; else whom the running request knows; else `anonymous`. */
  actor_id?: string | number | bigint | { toJSON(): string } | null;
  /** `user` where only an id is given. */
  actor_type?: AuditEvent["actor_type"] | null;
  /** Now, unless told. */
  timestamp?: Date | string;
  /** A UUID; a new one, unless told. */
  id?: string;
  old_values?: Values;
  new_values?: Values;
  metadata?: Values;
}

export interface Source {
  readonly service?: string;
  readonly version?: string;
  /** This machine's name, unless told. */
  readonly host?: string;
  readonly environment?: string;
}

export interface Spool {
  /** On a local disk; one for one application and chain. */
  readonly directory: string;
  /** For all processes together; 1 GiB unless told. */
  readonly maxBytes?: number;
}

export interface Settings {
  /** Where the collector listens: `https://collector.example.com:8481`. */
  readonly url: string;
  /** What `sealstream collect keys create` has printed; not needed with a client's certificate in `tls`. */
  readonly key?: string;
  /** The component that reports. */
  readonly source?: Source;
  /** Where events wait on disk, so that the end of the process loses none; in memory alone without it. */
  readonly spool?: Spool | string;
  /** What must not leave the process, beside passwords, tokens and card numbers. */
  readonly redaction?: Redaction | RedactionOptions;
  /** How many events may wait in memory: 10,000 unless told. */
  readonly maxPendingEvents?: number;
  /** How many bytes of them: 16 MiB unless told. */
  readonly maxPendingBytes?: number;
  /** How long an event may wait for others to be sent with: 100 unless told. */
  readonly lingerMs?: number;
  /** How long the collector may take to answer: 30,000 unless told. */
  readonly requestTimeoutMs?: number;
  /** How long the end of the process may take for a client that nobody closed: 5,000 unless told. */
  readonly exitTimeoutMs?: number;
  /** `ca`, `cert`, `key`, as Node's `tls.connect` takes them. */
  readonly tls?: Tls;
  /** Where warnings go: `console.warn` unless told. */
  readonly logger?: Logger;
}

const DEFAULTS = {
  maxPendingEvents: 10_000,
  maxPendingBytes: 16 * 1024 * 1024,
  lingerMs: 100,
  requestTimeoutMs: 30_000,
  exitTimeoutMs: 5_000,
} as const;
const BOUNDS: Readonly<Record<keyof typeof DEFAULTS, readonly [number, number]>> = {
  maxPendingEvents: [1, 10_000_000],
  maxPendingBytes: [65_536, 8 * 1024 ** 3],
  lingerMs: [0, 60_000],
  requestTimeoutMs: [100, 600_000],
  exitTimeoutMs: [0, 600_000],
};
const NAMES: ReadonlySet<string> = new Set([
  ...Object.keys(DEFAULTS),
  ...["url", "key", "source", "spool", "redaction", "tls", "logger"],
]);
const SPOOL_BYTES = 1024 ** 3;
const STATEMENTS_BY = "sealstream-express";

/** Sends audit events to the collector. One for a process. */
export class AuditClient {
  readonly redaction: Redaction;
  readonly warnings: Warnings;
  readonly #producerId = newEventId();
  readonly #source: Source;
  readonly #exitTimeoutMs: number;
  readonly #collector: Collector;
  readonly #stream: Stream;
  readonly #adoption: Patience | undefined;
  #closing: Promise<Stats> | undefined;

  /** Throws `Misconfigured`. It does not connect: a collector that is away is no error. */
  constructor(settings: Settings) {
    const unknown = Object.keys(settings).find((name) => !NAMES.has(name));
    if (unknown !== undefined) {
      throw new Misconfigured(`the audit client has no setting ${unknown}: expected some of ${[...NAMES].join(", ")}`);
    }
    const told = Object.fromEntries(Object.entries(settings).filter(([, value]) => value !== undefined));
    const numbers = { ...DEFAULTS, ...told } as typeof DEFAULTS & Settings;
    for (const [name, [least, most]] of Object.entries(BOUNDS)) {
      const value: unknown = numbers[name as keyof typeof DEFAULTS];
      if (typeof value !== "number" || !(value >= least && value <= most)) {
        throw new Misconfigured(`${name} is ${String(value)}: expected a number from ${least} to ${most}`);
      }
    }
    if (settings.key === undefined && settings.tls?.cert === undefined) {
      throw new Misconfigured("key is missing: expected what `sealstream collect keys create` has printed");
    }
    this.warnings = new Warnings(settings.logger);
    this.#exitTimeoutMs = numbers.exitTimeoutMs;
    this.#source = { host: hostname(), ...settings.source };
    this.redaction = settings.redaction instanceof Redaction ? settings.redaction : new Redaction(settings.redaction);
    this.#collector = new Collector(settings.url, settings.key, settings.tls, numbers.requestTimeoutMs);
    if (this.#collector.inTheClear) {
      this.warnings.say("clear", "the collector's key and audit events travel unencrypted: use https");
    }
    const sending = new Sending(this.#collector, this.warnings);
    const spool = spoolOf(settings.spool);
    const service = this.#source.service ?? "";
    const journal =
      spool && new Journal(spool.directory, this.#producerId, service, spool.maxBytes ?? SPOOL_BYTES, this.warnings);
    const bounds = {
      events: numbers.maxPendingEvents,
      bytes: numbers.maxPendingBytes,
      lingerMs: numbers.lingerMs,
    };
    this.#stream = new Stream(sending, bounds, this.#statement, journal);
    try {
      this.#statement("producer.closed", { next: 1 }, 0);
    } catch (error) {
      throw new Misconfigured(`source of the audit client: ${wording(error)}`);
    }
    if (spool !== undefined) {
      this.#adoption = new Patience();
      const closing = (producerId: string, number: number): string =>
        this.#made(producerId, statement("producer.closed", { next: number + 1 }, producerId))(number).json;
      const lost = (reason: string, count: number): void => {
        this.#stream.lost(reason, count);
        this.#stream.report();
      };
      void new Adoption(spool.directory, service, sending, this.#adoption, this.warnings, closing, lost).run();
    }
    open.add(this);
    if (open.size === 1) process.on("beforeExit", closeAll);
  }

  /** A client by variables of the environment; `settings` go before them. Throws `Misconfigured`, naming the variable. */
  static fromEnv(settings: Partial<Settings> = {}, environment: NodeJS.ProcessEnv = process.env): AuditClient {
    return new AuditClient({ ...settingsFrom(environment), ...settings });
  }

  /**
   * Report that somebody did something: the event's id, or null when it was dropped (see `stats()`). `request`: whose
   * event it is, where the running request can't be told.
   */
  log(event: LoggedEvent, request?: object): string | null {
    try {
      return this.emit(event as unknown as Readonly<Record<string, unknown>>, contextOf(request)?.bound() ?? {});
    } catch (error) {
      this.#drop("unreadable", `the event can't be read: ${wording(error)}`, wording(error));
      return null;
    }
  }

  /** `log` for the frameworks' modules, with what is bound. */
  emit(event: Readonly<Record<string, unknown>>, bound: Readonly<Record<string, unknown>>): string | null {
    let id: string | null = null;
    const name = typeof event.action === "string" ? event.action : "an event";
    try {
      const given = this.#filled(event ?? {}, bound);
      id = String(given.id).toLowerCase();
      const dropped = this.#stream.send(this.#made(this.#producerId, given));
      if (dropped === undefined) return id;
      this.#drop(dropped, `${name}: ${dropped}`);
    } catch (error) {
      if (error instanceof InvalidEvent) this.#drop("invalid", `${name}: ${error.message}`, `${error.field} of ${name}`);
      else this.#drop("unreadable", `${name} can't be read: its values throw ${wording(error)}`, name);
    }
    return null;
  }

  /** Waits until all is acknowledged or refused, or the time is over: how many events are still pending. */
  flush(timeoutMs = 10_000): Promise<number> {
    return this.#stream.flush(timeoutMs);
  }

  /**
   * Sends what is pending and `producer.closed`, which states the next number; gives up what the time is too short for,
   * or leaves it in the spool. Later events are dropped. Never rejects.
   */
  close(timeoutMs = 10_000): Promise<Stats> {
    this.#closing ??= this.#close(timeoutMs);
    return this.#closing;
  }

  /** What became of all events so far. */
  stats(): Stats {
    return this.#stream.stats();
  }

  async #close(timeoutMs: number): Promise<Stats> {
    open.delete(this);
    if (open.size === 0) process.removeListener("beforeExit", closeAll);
    try {
      await this.#stream.close(timeoutMs);
    } catch (error) {
      this.warnings.say("closing", `the audit client could not close in order: ${wording(error)}`);
    }
    this.#adoption?.end();
    this.#collector.close();
    const stats = this.stats();
    if (stats.failed > 0 || stats.unreported > 0) {
      this.warnings.say("closed", `audit client closed: ${stats.failed} events not delivered, losses: ${JSON.stringify(stats.dropped)}`);
    }
    if (stats.pending > 0) {
      this.warnings.say("waiting", `audit client closed: ${stats.pending} events wait in the spool; the next start sends them`);
    }
    return stats;
  }

  /** At the end of the process. */
  async closeAtExit(): Promise<void> {
    await this.close(this.#exitTimeoutMs);
  }

  #filled(event: Readonly<Record<string, unknown>>, bound: Readonly<Record<string, unknown>>): Record<string, unknown> {
    checkNames(event);
    const actor = event.actor_id ?? bound.actor_id;
    const whose = event.actor_id === undefined || event.actor_id === null ? bound : event; // an actor is one whole
    const known = actor !== undefined && actor !== null;
    return {
      id: event.id ?? newEventId(),
      timestamp: event.timestamp ?? new Date(),
      actor_id: known ? actor : "anonymous",
      actor_type: event.actor_type ?? whose.actor_type ?? (known ? "user" : "anonymous"),
      on_behalf_of: event.on_behalf_of ?? whose.on_behalf_of,
      action: event.action,
      resource_type: event.resource_type,
      resource_id: event.resource_id,
      result: event.result ?? "success",
      ip_address: event.ip_address ?? bound.ip_address,
      user_agent: event.user_agent ?? bound.user_agent,
      session_id: event.session_id ?? bound.session_id,
      trace_id: event.trace_id ?? bound.trace_id ?? currentTraceId(),
      tenant: event.tenant ?? bound.tenant,
      reason: event.reason,
      source: this.#source,
      changed_fields: event.changed_fields,
      old_values: event.old_values,
      new_values: event.new_values,
      metadata: event.metadata,
      producer_id: this.#producerId,
      producer_seq: 0,
      subject_id: event.subject_id ?? bound.subject_id,
    };
  }

  #made(producerId: string, given: Record<string, unknown>): Made {
    given.producer_id = producerId;
    given.source = this.#source;
    return (number) => {
      given.producer_seq = number;
      return acceptable(given, this.redaction);
    };
  }

  readonly #statement = (
    action: string,
    metadata: Record<string, string | number>,
    number: number,
  ): { readonly json: string; readonly bytes: number } =>
    this.#made(this.#producerId, statement(action, metadata, this.#producerId))(number);

  #drop(reason: string, message: string, place = ""): void {
    this.#stream.lost(reason);
    this.warnings.say(`dropped ${reason} ${place}`, `audit event dropped, ${message}; more of these are counted`);
  }
}

/** What a producer says of itself. */
function statement(action: string, metadata: Record<string, string | number>, producerId: string): Record<string, unknown> {
  return {
    id: newEventId(),
    timestamp: new Date(),
    action,
    actor_id: STATEMENTS_BY,
    actor_type: "service", // a key of the collector may claim it unless told otherwise; `system` it may not
    resource_type: "producer",
    resource_id: producerId,
    result: action === "audit.loss" ? "failure" : "success",
    metadata,
  };
}

function spoolOf(given: Spool | string | undefined): Spool | undefined {
  if (given === undefined) return undefined;
  const spool = typeof given === "string" ? { directory: given } : given;
  if (typeof spool.directory !== "string" || spool.directory === "") {
    throw new Misconfigured("spool: expected a directory on a local disk");
  }
  if (spool.maxBytes !== undefined && !(spool.maxBytes >= 65_536)) {
    throw new Misconfigured(`spool.maxBytes is ${spool.maxBytes}: expected 65536 or more`);
  }
  ownerHere("");
  return spool;
}

const open = new Set<AuditClient>();

/** The process has nothing left to do: what waits is sent first. */
function closeAll(): void {
  for (const client of open) void client.closeAtExit();
}
