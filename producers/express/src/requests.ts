/**
 * What every framework's module has in common: who asks, what a handler says, and with what result it ends.
 *
 * A framework's module knows its request, its route and its client's address; everything else is decided here, so that a
 * request is recorded alike whatever serves it, and alike with Sealstream's Python middleware. The event is made when the
 * response has been handed to the operating system, or its connection is gone. Never a body, a query string, a cookie or
 * another header.
 *
 * The invariant: whatever fails here, the request runs as if nobody watched it.
 */

import { addressIn } from "./addresses.js";
import type { AuditClient } from "./client.js";
import { actorFields, remember, RequestContext } from "./context.js";
import type { Actor } from "./context.js";
import { errorName, resultOfStatus, toldResult } from "./results.js";
import { actionNamed, resourceIn } from "./routes.js";
import type { Params } from "./routes.js";
import { atMost, clean } from "./texts.js";
import { traceIdOf } from "./tracing.js";
import { wording } from "./warning.js";

/** What is read of a request, whatever the framework. */
export interface Asked {
  readonly method?: string | undefined;
  readonly url?: string | undefined;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
}

/** Node's `ServerResponse`, as far as it is looked at. */
export interface Answered {
  readonly statusCode: number;
  readonly headersSent: boolean;
  readonly writableFinished: boolean;
  /** What the application, or a stream that it pipes here, has ended the response with. */
  readonly errored?: unknown;
  once(event: "finish" | "close", listener: () => void): unknown;
}

/** `R`: what the framework calls a request. */
export interface RequestOptions<R> {
  /** Who makes the request, where no handler has said it. Asked when the response has ended, and by events before. */
  readonly actor?: (request: R) => Actor | string | number | null | undefined;
  /** Paths without events, or a function that tells. */
  readonly exclude?: readonly string[] | ReadonlySet<string> | ((request: R) => boolean);
  /** Its session, where `request.session.id` is not what is meant. */
  readonly sessionId?: (request: R) => string | null | undefined;
}

/** What a framework's module tells of one request. */
export interface Facts {
  readonly path: string;
  /** What the framework calls the client's address. */
  readonly ip: unknown;
  readonly peer: { readonly remoteAddress?: string | undefined; readonly readableEnded?: boolean; readonly errored?: unknown } | undefined;
  /** When it has ended: the template of its route, and all parameters in the path. */
  route(): { readonly template: string | undefined; readonly params: Params };
}

export class RequestAudit<R extends object> {
  readonly #client: AuditClient;
  readonly #options: RequestOptions<R>;
  readonly #excluded: ReadonlySet<string>;
  readonly #framework: string;

  constructor(client: AuditClient, options: RequestOptions<R>, framework: string) {
    this.#client = client;
    this.#options = options;
    this.#framework = framework;
    const { exclude = [] } = options;
    this.#excluded = new Set(typeof exclude === "function" ? [] : exclude);
  }

  /** The context that the request runs in; undefined: it gets no event. Never throws. */
  begin(request: R, asked: Asked, response: Answered, facts: Facts): RequestContext | undefined {
    try {
      if (this.#isExcluded(request, facts.path)) return undefined;
      const context = new RequestContext(known(asked, facts), () => this.#actor(request));
      remember(request, context);
      let open = true;
      const end = (finished: boolean): void => {
        if (!open) return;
        open = false;
        this.#attempt("emitting", () => this.#emit(asked, response, facts, context, finished));
      };
      response.once("finish", () => end(true));
      response.once("close", () => end(response.writableFinished));
      return context;
    } catch (error) {
      this.#complain("reading the request", error);
      return undefined;
    }
  }

  /** A request that was answered before anybody of the framework's could watch it. Never throws. */
  missed(asked: Asked, response: Answered, facts: Facts): void {
    this.#attempt("emitting", () => {
      if (this.#isExcluded(asked as unknown as R, facts.path)) return;
      this.#emit(asked, response, facts, new RequestContext(known(asked, facts), () => ({})), response.writableFinished);
    });
  }

  #isExcluded(request: R, path: string): boolean {
    const { exclude } = this.#options;
    if (typeof exclude !== "function") return this.#excluded.has(path);
    return this.#attempt("exclude", () => Boolean(exclude(request))) ?? false;
  }

  #actor(request: R): Record<string, unknown> {
    const { actor, sessionId } = this.#options;
    const told = actor === undefined ? undefined : this.#attempt("actor", () => actorFields(actor(request)));
    const fields = told ?? this.#attempt("user", () => userOf(request)) ?? {};
    if (fields.session_id === undefined) {
      const session = this.#attempt("session", () => (sessionId === undefined ? sessionOf(request) : sessionId(request)));
      if (typeof session === "string" && session !== "") fields.session_id = session;
    }
    return fields;
  }

  #emit(asked: Asked, response: Answered, facts: Facts, context: RequestContext, finished: boolean): void {
    const { own } = context;
    const status = finished || response.headersSent ? response.statusCode : undefined;
    const { peer } = facts;
    const gone = peer === undefined || peer.readableEnded === true || (peer.errored ?? undefined) !== undefined;
    const failed = (response.errored ?? undefined) === undefined ? undefined : errorName(response.errored);
    const broken = finished ? undefined : (failed ?? (gone ? "client disconnected" : "no complete response"));
    const error = context.error ?? broken;
    let result = broken === undefined ? resultOfStatus(status) : "failure";
    if (error !== undefined && result === "success") result = "failure";
    result = toldResult(result, own.result);
    if (context.emitted && result === "success") return;
    const { template, params } = this.#attempt("route", () => facts.route()) ?? { template: undefined, params: {} };
    let [type, id] = resourceIn(params, facts.path);
    if (this.#client.redaction.isSecret(type)) id = "[redacted]"; // /reset/:token: what the path names is no name
    const metadata: Record<string, unknown> = {
      ...(own.metadata as object | undefined),
      duration_ms: context.durationMs(),
      ...(status === undefined ? {} : { http_status: status }),
      ...(error === undefined ? {} : { error }),
    };
    if (Object.keys(params).length > 1) {
      metadata.path_params = Object.fromEntries(
        Object.entries(params).map(([name, value]) => [atMost(name, 128), atMost(value, 512)]),
      );
    }
    if (context.shared.ip_address !== undefined && typeof facts.ip === "string" && addressIn(facts.ip) === undefined) {
      metadata.ip_address = atMost(clean(facts.ip), 100); // what a stranger wrote, where a proxy is trusted too far
    }
    const fields = {
      ...own,
      action: own.action ?? actionNamed(asked.method ?? "", template),
      resource_type: own.resource_type ?? type,
      resource_id: own.resource_id ?? id,
      result,
      metadata,
    };
    this.#client.emit(fields, context.bound());
  }

  /** Runs what is the application's own, or rests on it; undefined where that throws. */
  #attempt<T>(what: string, run: () => T): T | undefined {
    try {
      return run();
    } catch (error) {
      this.#complain(what, error);
      return undefined;
    }
  }

  #complain(what: string, error: unknown): void {
    this.#client.warnings.say(
      `${this.#framework} ${what}`,
      `${this.#framework} middleware, ${what}: ${wording(error)}; the request goes on`,
    );
  }
}

/** A request's path without its query, also of an absolute URL (RFC 9112 section 3.2.2). */
export function pathOf(url: string | undefined): string {
  const path = (url ?? "").replace(/^[a-z][a-z0-9+.-]*:\/\/[^/?#]*/i, "").split(/[?#]/, 1)[0];
  return path || "/";
}

function known(asked: Asked, facts: Facts): Record<string, unknown> {
  const shared: Record<string, unknown> = {};
  const address = addressIn(facts.ip) ?? addressIn(facts.peer?.remoteAddress);
  if (address !== undefined) shared.ip_address = address;
  const agent = asked.headers["user-agent"];
  if (typeof agent === "string" && agent !== "") shared.user_agent = atMost(clean(agent), 1_024);
  const trace = traceIdOf(asked.headers.traceparent);
  if (trace !== undefined) shared.trace_id = trace;
  return shared;
}

const IDS = ["id", "_id", "sub", "user_id", "userId", "uid", "username", "email"] as const;

/** The user whom Passport and others leave at the request (`user`), or express-jwt (`auth`). */
function userOf(request: object): Record<string, unknown> {
  const { user, auth } = request as { user?: unknown; auth?: unknown };
  for (const found of [user, auth]) {
    if (typeof found === "string" || typeof found === "number") return actorFields(found);
    if (typeof found !== "object" || found === null) continue;
    for (const name of IDS) {
      const id = (found as Record<string, unknown>)[name];
      if (id !== undefined && id !== null && id !== "" && typeof id !== "boolean") return actorFields({ id: id as string });
    }
  }
  return {};
}

function sessionOf(request: object): unknown {
  const { sessionID, session } = request as { sessionID?: unknown; session?: { id?: unknown; sessionId?: unknown } };
  return sessionID ?? session?.id ?? session?.sessionId;
}
