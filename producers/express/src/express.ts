/**
 * Express 4 and 5: one audit event for each request, made when its response has ended.
 *
 *     app.use(auditMiddleware(audit));
 *
 * Express tells the route that matched (`req.route`), but the prefix of its routers only as it was asked for, and forgets
 * it when a handler calls `next`. So what Express writes into `route`, `baseUrl` and `params` of a request is listened
 * to. The invariant: these three read and write as if nobody listened, and whatever fails here, the request goes on.
 */

import type { AuditClient } from "./client.js";
import { contextOf, isWatched, running } from "./context.js";
import { pathOf, RequestAudit } from "./requests.js";
import type { Answered, Asked, RequestOptions } from "./requests.js";
import { errorName } from "./results.js";
import { paramsAsText, Prefixes, templateOf } from "./routes.js";
import type { Params } from "./routes.js";

/** What is read of Express's request. */
export interface ExpressRequest extends Asked {
  readonly ip?: string | undefined;
  readonly originalUrl?: string;
}

type Next = (error?: any) => void;
type Handler = (request: any, response: any, next: Next) => void;
type ErrorHandler = (error: any, request: any, response: any, next: Next) => void;

/**
 * The middleware; before all others. `R`: what handlers get (`express.Request`). The user that authentication leaves at
 * `req.user` later is found, since it is asked when the response has ended.
 */
export function auditMiddleware<R extends object = any>(client: AuditClient, options: RequestOptions<R> = {}): Handler {
  const audit = new RequestAudit<R>(client, options, "express");
  const prefixes = new Prefixes();
  return function sealstream(request: R & ExpressRequest, response: Answered, next: Next): void {
    let path = "/";
    let ip: unknown;
    let matched: Matched | undefined;
    if (isWatched(request)) return next(); // it stands in the application twice
    try {
      path = pathOf(request.originalUrl ?? request.url);
      ip = request.ip;
      matched = new Matched(request as unknown as Routed, prefixes);
    } catch (error) {
      client.warnings.say("express beginning", `express middleware: ${String(error)}; the request goes on`);
    }
    const context = audit.begin(request, request, response, {
      path,
      ip,
      peer: (request as { socket?: object }).socket,
      route: () => matched?.told() ?? { template: undefined, params: {} },
    });
    if (context === undefined) next();
    else running.run(context, next);
  };
}

/** After all routes, before your own error handlers: events then name the class of the error that a handler threw. */
export function auditErrors(): ErrorHandler {
  return function sealstreamErrors(error: unknown, request: object, _response: unknown, next: Next): void {
    try {
      const context = contextOf(request);
      if (context !== undefined) context.error ??= errorName(error);
    } catch {
      // an error that can't be read
    }
    next(error);
  };
}

interface Routed {
  route?: { readonly path?: unknown };
  baseUrl?: string;
  params?: object;
}

interface Mounted {
  readonly baseUrl: string;
  readonly params: Params;
}

/** What Express has found for a request: the routers that it went into, and the last route that matched. */
class Matched {
  readonly #prefixes: Prefixes;
  #mounts: Mounted[];
  #route: { readonly itself: object; readonly mounts: readonly Mounted[]; params: Params } | undefined;
  #awaitsParams = false;
  #lastParams: object | undefined;

  constructor(request: Routed, prefixes: Prefixes) {
    this.#prefixes = prefixes;
    this.#lastParams = request.params;
    this.#mounts = [{ baseUrl: request.baseUrl ?? "", params: paramsAsText(request.params) }];
    listen(request, "params", (params) => this.#assigned(params));
    listen(request, "baseUrl", (baseUrl) => this.#entered(baseUrl));
    listen(request, "route", (route) => this.#matched(route));
  }

  told(): { template: string | undefined; params: Params } {
    const mounts = this.#route?.mounts ?? this.#mounts;
    let prefix = "";
    let before = "";
    const params: Record<string, string> = {};
    for (const mount of mounts) {
      const fresh = Object.entries(mount.params).filter(([name, value]) => params[name] !== value);
      prefix += this.#prefixes.template(mount.baseUrl.slice(before.length), Object.fromEntries(fresh));
      before = mount.baseUrl;
      for (const [name, value] of fresh) params[name] = value;
    }
    if (this.#route === undefined) return { template: prefix === "" ? undefined : `${prefix}/*`, params: {} };
    const own = templateOf((this.#route.itself as { path?: unknown }).path);
    const template = own === "/" && prefix !== "" ? prefix : prefix + own;
    for (const [name, value] of Object.entries(this.#route.params)) {
      delete params[name]; // the route's own come last
      params[name] = value;
    }
    return { template, params };
  }

  #assigned(params: unknown): void {
    if (typeof params !== "object" || params === null) return;
    this.#lastParams = params;
    if (this.#awaitsParams && this.#route !== undefined) {
      this.#route.params = paramsAsText(params);
      this.#awaitsParams = false;
    }
  }

  #entered(baseUrl: unknown): void {
    if (typeof baseUrl !== "string") return;
    this.#mounts = this.#mounts.filter((mount) => baseUrl.startsWith(mount.baseUrl));
    const top = this.#mounts[this.#mounts.length - 1];
    if (top === undefined || baseUrl.length > top.baseUrl.length) {
      this.#mounts.push({ baseUrl, params: paramsAsText(this.#lastParams) });
    }
  }

  #matched(route: unknown): void {
    if (typeof route !== "object" || route === null) return;
    const top = this.#mounts[this.#mounts.length - 1];
    if (this.#route?.itself === route && this.#route.mounts[this.#route.mounts.length - 1] === top) return; // said twice
    this.#route = { itself: route, mounts: [...this.#mounts], params: {} };
    this.#awaitsParams = true;
  }
}

/** What is assigned to `name` from now on is told, too. */
function listen<K extends keyof Routed>(request: Routed, name: K, told: (value: unknown) => void): void {
  let value = request[name];
  Object.defineProperty(request, name, {
    configurable: true,
    enumerable: true,
    get: () => value,
    set(assigned: Routed[K]) {
      value = assigned;
      try {
        told(assigned);
      } catch {
        // parameters that can't be read
      }
    },
  });
}
