// Made of event.schema.json by scripts/make-event-types.mjs: change the schema, and run `npm run types`.

export type Json = null | boolean | number | string | readonly Json[] | { readonly [name: string]: Json };
export type JsonObject = { readonly [name: string]: Json };

/** Who did what to which resource, when, from where and with what result. Null means absent for an optional field. */
export interface AuditEvent {
  /** the event's id, a UUID of any version in lower case */
  id: string;
  /** when it happened, by the producer's clock: RFC 3339, kept as UTC in microseconds */
  timestamp: string;
  /** who; `anonymous` for an unknown actor */
  actor_id: string;
  /** what the actor is */
  actor_type: "user" | "service" | "admin" | "system" | "anonymous";
  /** whom the actor acts for (impersonation, support access) */
  on_behalf_of?: string | null;
  /** what was done: read, login, invoice.approve */
  action: string;
  /** to what kind of resource */
  resource_type: string;
  /** to which resource */
  resource_id: string;
  /** with what result */
  result: "success" | "failure" | "denied";
  /** from where: IPv4, or IPv6 as RFC 5952 writes it */
  ip_address?: string | null;
  /** the client's program */
  user_agent?: string | null;
  /** the session it happened in */
  session_id?: string | null;
  /** the request's trace */
  trace_id?: string | null;
  /** whose data it is, where several customers share a system */
  tenant?: string | null;
  /** why: a clinical justification, a business reason */
  reason?: string | null;
  /** the component that reports it (PCI DSS 10.2.2) */
  source?: {
    /** the service's name */
    service?: string | null;
    /** its version */
    version?: string | null;
    /** the machine or container */
    host?: string | null;
    /** production, staging */
    environment?: string | null;
    /** the identity that the component proved to the collector */
    authenticated_as?: string | null;
  } | null;
  /** which fields a write changed */
  changed_fields?: readonly string[] | null;
  /** their values before */
  old_values?: JsonObject | null;
  /** their values after */
  new_values?: JsonObject | null;
  /** anything else: http_status, duration_ms */
  metadata?: JsonObject | null;
  /** the stream of events that producer_seq numbers; made new by each process */
  producer_id?: string | null;
  /** the event's number in its stream, from 0 without gaps */
  producer_seq?: number | null;
  /** whose personal data the encrypted fields hold */
  subject_id?: string | null;
  /** the producer's own signature on this event; whether it holds, the log says */
  signature?: {
    /** the key's label: its name, +, its key id */
    key: string;
    /** base64 of the Ed25519 signature */
    value: string;
  } | null;
}

export type ActorType = AuditEvent["actor_type"];
export type Result = AuditEvent["result"];

/** What a field holds; `limit`: of its UTF-8 bytes. */
export interface Rule {
  readonly kind: "choice" | "text" | "number" | "texts" | "source" | "object";
  readonly limit?: number;
  readonly required?: boolean;
  readonly choices?: readonly string[];
}

export const FIELDS: Readonly<Record<keyof AuditEvent, Rule>> = {
  id: { kind: "text", required: true },
  timestamp: { kind: "text", required: true },
  actor_id: { kind: "text", limit: 512, required: true },
  actor_type: { kind: "choice", choices: ["user","service","admin","system","anonymous"], required: true },
  on_behalf_of: { kind: "text", limit: 512 },
  action: { kind: "text", limit: 128, required: true },
  resource_type: { kind: "text", limit: 128, required: true },
  resource_id: { kind: "text", limit: 512, required: true },
  result: { kind: "choice", choices: ["success","failure","denied"], required: true },
  ip_address: { kind: "text" },
  user_agent: { kind: "text" },
  session_id: { kind: "text", limit: 512 },
  trace_id: { kind: "text", limit: 512 },
  tenant: { kind: "text", limit: 128 },
  reason: { kind: "text" },
  source: { kind: "source" },
  changed_fields: { kind: "texts" },
  old_values: { kind: "object" },
  new_values: { kind: "object" },
  metadata: { kind: "object" },
  producer_id: { kind: "text", limit: 512 },
  producer_seq: { kind: "number" },
  subject_id: { kind: "text", limit: 512 },
  signature: { kind: "source" },
};

export const SOURCE_LIMIT = 512;
export const LARGEST_INTEGER = 9007199254740991;
