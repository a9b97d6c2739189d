/** Audit events of Express, Fastify and NestJS applications for Sealstream's collector. */

export { AuditClient } from "./client.js";
export type { LoggedEvent, Settings, Source, Spool } from "./client.js";
export type { Tls } from "./collector.js";
export { describe, emittedAlready } from "./context.js";
export type { Actor, Description } from "./context.js";
export { Misconfigured } from "./errors.js";
export type { ActorType, AuditEvent, Json, JsonObject, Result } from "./event.js";
export { auditErrors, auditMiddleware } from "./express.js";
export type { ExpressRequest } from "./express.js";
export type { Stats } from "./losses.js";
export { REDACTED, Redaction } from "./redaction.js";
export type { RedactionOptions } from "./redaction.js";
export type { RequestOptions } from "./requests.js";
