/**
 * What holds for everything that one request does: who acts, from where, in which trace. It follows the request through
 * callbacks and promises (`AsyncLocalStorage`).
 */

import { AsyncLocalStorage } from "node:async_hooks";

import type { ActorType, AuditEvent, Result } from "./event.js";

/** Who makes a request; a text alone is a user's id. */
export interface Actor {
  readonly id: string | number | bigint | { toString(): string };
  readonly type?: ActorType;
  readonly on_behalf_of?: string | null;
  readonly tenant?: string | null;
  readonly session_id?: string | null;
}

type Shared = Partial<
  Pick<
    AuditEvent,
    "actor_id" | "actor_type" | "on_behalf_of" | "tenant" | "session_id" | "trace_id" | "ip_address" | "user_agent" | "subject_id"
  >
>;

/** What a handler can say about its request; undefined says nothing. */
export interface Description extends Shared {
  action?: string;
  resource_type?: string;
  resource_id?: string | number | bigint;
  /** Can make a success a failure or a denial, never the reverse. */
  result?: Result;
  reason?: string | null;
  changed_fields?: readonly string[] | null;
  old_values?: Readonly<Record<string, unknown>> | null;
  new_values?: Readonly<Record<string, unknown>> | null;
  /** Is merged. */
  metadata?: Readonly<Record<string, unknown>> | null;
}

const SHARED: ReadonlySet<string> = new Set([
  ...["actor_id", "actor_type", "on_behalf_of", "tenant", "session_id", "trace_id", "ip_address", "user_agent"],
  "subject_id",
]);
const OWN: ReadonlySet<string> = new Set([
  ...["action", "resource_type", "resource_id", "result", "reason", "changed_fields", "old_values", "new_values"],
  "metadata",
]);

/** One request between its beginning and its end. */
export class RequestContext {
  /** What is shared with other events of the request. */
  readonly shared: Record<string, unknown>;
  /** What only the request's own event has. */
  readonly own: Record<string, unknown> = {};
  emitted = false;
  error: string | undefined;
  readonly #began = performance.now();
  readonly #actor: () => Readonly<Record<string, unknown>>;

  /** `actor`: who the framework says it is, asked when an event needs it. */
  constructor(shared: Record<string, unknown>, actor: () => Readonly<Record<string, unknown>>) {
    this.shared = shared;
    this.#actor = actor;
  }

  describe(fields: Description): void {
    for (const [name, value] of Object.entries(fields)) {
      if (value === undefined || value === null) continue;
      if (SHARED.has(name)) this.shared[name] = value;
      else if (name === "metadata") this.own.metadata = { ...(this.own.metadata as object), ...(value as object) };
      else if (OWN.has(name)) this.own[name] = value;
    }
  }

  /** What the request's events have in common, as of now. */
  bound(): Readonly<Record<string, unknown>> {
    const found = this.#actor();
    return this.shared.actor_id === undefined
      ? { ...found, ...this.shared }
      : { session_id: found.session_id, ...this.shared }; // an actor is one whole
  }

  durationMs(): number {
    return Math.round((performance.now() - this.#began) * 1000) / 1000;
  }
}

export const running = new AsyncLocalStorage<RequestContext>();

const contexts = new WeakMap<object, RequestContext>();

export function remember(request: object, context: RequestContext): void {
  contexts.set(request, context);
}

/** Whether the request has a context already. */
export function isWatched(request: object): boolean {
  return contexts.has(request);
}

export function contextOf(request: object | undefined): RequestContext | undefined {
  return (request === undefined ? undefined : contexts.get(request)) ?? running.getStore();
}

/**
 * Say about the running request what its handler alone knows. Who acts, for whom and where from goes into its other
 * events as well. `request`: where the running one can't be told. Outside of a request it does nothing; never throws.
 */
export function describe(fields: Description, request?: object): void {
  try {
    contextOf(request)?.describe(fields);
  } catch {
    // an object that can't be read
  }
}

/** The handler has logged an event that says it all: the request's is left out, unless it fails. */
export function emittedAlready(request?: object): void {
  const context = contextOf(request);
  if (context !== undefined) context.emitted = true;
}

/** An actor as an event's fields. */
export function actorFields(actor: Actor | string | number | null | undefined): Record<string, unknown> {
  if (actor === undefined || actor === null || actor === "") return {};
  if (typeof actor !== "object") return { actor_id: actor, actor_type: "user" };
  const { id, type = "user", on_behalf_of, tenant, session_id } = actor;
  if (id === undefined || id === null || id === "") return {};
  const fields: Record<string, unknown> = { actor_id: typeof id === "object" ? String(id) : id, actor_type: type };
  for (const [name, value] of Object.entries({ on_behalf_of, tenant, session_id })) {
    if (value !== undefined && value !== null) fields[name] = value;
  }
  return fields;
}

