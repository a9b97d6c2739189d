/**
 * Fastify 4 and 5: one audit event for each request, made when its response has ended.
 *
 *     await app.register(auditPlugin, { client: audit });
 */

import type { AuditClient } from "./client.js";
import { contextOf, running } from "./context.js";
import { pathOf, RequestAudit } from "./requests.js";
import type { Answered, Asked, RequestOptions } from "./requests.js";
import { errorName } from "./results.js";
import { paramsAsText, templateOf } from "./routes.js";

export interface AuditPluginOptions<R = any> extends RequestOptions<R> {
  readonly client: AuditClient;
}

interface FastifyLike {
  readonly server?: { on(event: "request", listener: (request: RawRequest, response: Answered) => void): unknown };
  addHook(name: any, hook: any): unknown;
}

type RawRequest = Asked & { readonly socket?: object };

interface FastifyRequestLike extends Asked {
  readonly raw: RawRequest;
  readonly originalUrl?: string;
  readonly ip: string;
  readonly params: unknown;
  readonly is404?: boolean;
  readonly routeOptions?: { readonly url?: string | undefined };
}

interface FastifyReplyLike {
  readonly raw: Answered;
}

function plugin(app: FastifyLike, options: AuditPluginOptions, done: (error?: Error) => void): void {
  const { client, ...rest } = options;
  const audit = new RequestAudit<FastifyRequestLike>(client, rest as RequestOptions<FastifyRequestLike>, "fastify");
  const seen = new WeakSet<object>();
  // No hook runs for a path that can't be decoded, and none of ours where an earlier one answers.
  app.server?.on("request", (raw, response) => {
    const end = (): void => {
      if (seen.has(raw)) return;
      seen.add(raw);
      const route = () => ({ template: undefined, params: {} });
      audit.missed(raw, response, { path: pathOf(raw.url), ip: undefined, peer: raw.socket, route });
    };
    response.once("finish", end);
    response.once("close", end);
  });
  app.addHook("onRequest", (request: FastifyRequestLike, reply: FastifyReplyLike, next: () => void) => {
    seen.add(request.raw);
    let ip: unknown;
    try {
      ip = request.ip;
    } catch {
      // a trustProxy function of the application
    }
    const context = audit.begin(request, request.raw, reply.raw, {
      path: pathOf(request.originalUrl ?? request.raw.url),
      ip,
      peer: request.raw.socket,
      route: () => {
        const url = request.is404 === true ? undefined : request.routeOptions?.url;
        if (url === undefined) return { template: undefined, params: {} };
        return { template: templateOf(url), params: paramsAsText(request.params) };
      },
    });
    if (context === undefined) next();
    else running.run(context, next);
  });
  app.addHook("onError", (request: FastifyRequestLike, _reply: unknown, error: unknown, next: () => void) => {
    const context = contextOf(request);
    if (context !== undefined) context.error ??= errorName(error);
    next();
  });
  done();
}

/** For `app.register`: all routes of the application, whichever plugin they are in. */
export const auditPlugin: (app: any, options: AuditPluginOptions, done: (error?: Error) => void) => void = Object.assign(
  plugin,
  { [Symbol.for("skip-override")]: true, [Symbol.for("fastify.display-name")]: "sealstream" },
);
