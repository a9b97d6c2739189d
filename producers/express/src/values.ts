/**
 * JavaScript's values as JSON's, and a stranger's values as an event can hold them; the rule of the Python client:
 *
 * - A Date and a bigint become text, a Map an object, a Set a list; what has `toJSON` is what that gives; an Error is
 *   the name of its class. Where text is expected, a whole number becomes text.
 * - What a web request can carry must not make an event unacceptable, or an attacker could act unseen: NUL and lone
 *   surrogates become U+FFFD; a number beyond +-(2^53-1), NaN and infinities become text; what is nested deeper than an
 *   event may be becomes the text `(nested too deep)`; a text longer than its field is cut, and ends in `~` and 16 hex
 *   digits of its SHA-256; an `ip_address` that is none goes into `metadata`, cut to 100 bytes.
 * - When the event is still too large, `metadata`, `old_values`, `new_values` of more than 4 KiB are each replaced by
 *   their length and SHA-256, `changed_fields` of more than that by their number, and texts of more than 1 KiB are cut.
 *
 * Bytes, functions, symbols, unknown results are refused by name: an audit log does not guess. However large a value,
 * no more than some 20,000 members of it are looked at. Pure; the values given are never changed.
 */

import { createHash } from "node:crypto";
import { isIP } from "node:net";

import { InvalidEvent } from "./errors.js";
import { FIELDS, LARGEST_INTEGER, SOURCE_LIMIT } from "./event.js";
import type { AuditEvent, Json, Rule } from "./event.js";
import type { Plain, Redaction } from "./redaction.js";
import { atMost, clean, cutWithDigest, put } from "./texts.js";

/** Of the canonical event, less what the collector adds: who was authenticated, and a tenant. */
const LARGEST_EVENT = 61_440 - 1_024;
const DEEPEST = 32;
const MOST_MEMBERS = 20_000;
const LONGEST_TEXT = 65_536;
const LARGE_OBJECT = 4_096;
const LARGE_TEXT = 1_024;
const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const RFC_3339 = /^\d{4}-\d\d-\d\dT\d\d:\d\d:[0-5]\d(?:\.\d{1,6})?(?:Z|[+-]\d\d:\d\d)$/i;
const RULES = Object.entries(FIELDS) as readonly (readonly [keyof AuditEvent, Rule])[];
const MOST_BYTES = 3; // of UTF-8, for one of a text's characters

/** Throws `InvalidEvent` for a field that events don't have, or not from here. */
export function checkNames(given: object): void {
  for (const name of Object.keys(given)) {
    if (!(name in FIELDS)) throw new InvalidEvent(`${atMost(name, 64)} is no field of an event`, "(unknown)");
    if (name === "signature") throw new InvalidEvent("signature can't be given: this client does not sign", name);
  }
}

/** The event as JSON, and its size in UTF-8 bytes. Throws `InvalidEvent`, and whatever strange objects throw. */
export function acceptable(given: Readonly<Record<string, unknown>>, redaction: Redaction): { json: string; bytes: number } {
  const plain: Plain = {};
  for (const [name, rule] of RULES) {
    const value = given[name];
    if (value === undefined || value === null) continue;
    const field = asField(name, rule, value);
    if (field !== null) plain[name] = field;
  }
  redaction.redact(plain);
  moveStrangeAddress(plain);
  for (const [name, rule] of RULES) {
    const value = plain[name];
    if (value === undefined || value === null) {
      if (rule.required) throw new InvalidEvent(`${name} is missing`, name);
      if (value === null) delete plain[name];
    } else if (rule.limit !== undefined && typeof value === "string" && value.length * MOST_BYTES > rule.limit) {
      plain[name] = cutWithDigest(value, rule.limit);
    }
  }
  check(plain);
  let json = JSON.stringify(plain);
  if (json.length * MOST_BYTES > LARGEST_EVENT && Buffer.byteLength(json) > LARGEST_EVENT) {
    for (const name of Object.keys(plain)) plain[name] = lean(name, plain[name] as Json);
    json = JSON.stringify(plain);
  }
  const bytes = Buffer.byteLength(json);
  if (bytes > LARGEST_EVENT) {
    throw new InvalidEvent(`event is too large: expected at most ${LARGEST_EVENT} bytes, got ${bytes}`);
  }
  return { json, bytes };
}

function check(plain: Plain): void {
  const id = (plain.id as string).toLowerCase();
  if (!UUID.test(id)) throw new InvalidEvent("id is no UUID", "id");
  plain.id = id;
  const timestamp = plain.timestamp as string;
  if (!RFC_3339.test(timestamp) || Number.isNaN(Date.parse(timestamp.replace(/(\.\d{3})\d+/, "$1")))) {
    throw new InvalidEvent("timestamp is none: expected a Date, or RFC 3339 with an offset", "timestamp");
  }
}

function asField(name: string, rule: Rule, value: unknown): Json {
  if (name === "timestamp" && value instanceof Date) {
    if (Number.isNaN(value.getTime())) throw new InvalidEvent("timestamp is an invalid Date", name);
    return value.toISOString();
  }
  const plain = converted(value, 1, { left: MOST_MEMBERS }, name);
  switch (rule.kind) {
    case "choice":
      if (!rule.choices?.includes(plain as string)) {
        throw new InvalidEvent(`${name} is none of its values: expected one of ${rule.choices?.join(", ")}`, name);
      }
      return plain;
    case "text": {
      const text = Number.isInteger(plain) ? String(plain) : plain;
      if (typeof text !== "string") throw new InvalidEvent(`${name} is no text`, name);
      if (rule.required && text === "") throw new InvalidEvent(`${name} is empty`, name);
      return text;
    }
    case "number":
      if (!Number.isInteger(plain)) throw new InvalidEvent(`${name} is no whole number`, name);
      return plain;
    case "texts":
      if (!Array.isArray(plain) || plain.some((item) => typeof item !== "string")) {
        throw new InvalidEvent(`${name} is no list of texts`, name);
      }
      return plain;
    case "source":
      return sourceOf(plain);
    case "object":
      if (plain === null) return null;
      if (typeof plain !== "object" || Array.isArray(plain)) throw new InvalidEvent(`${name} is no object`, name);
      return plain;
  }
}

function sourceOf(plain: Json): Json {
  if (plain === null || typeof plain !== "object" || Array.isArray(plain)) {
    throw new InvalidEvent("source is no object", "source");
  }
  const source: Record<string, Json> = {};
  for (const [name, value] of Object.entries(plain)) {
    if (value === null) continue;
    if (!["service", "version", "host", "environment"].includes(name)) {
      throw new InvalidEvent(`source.${atMost(name, 64)} is none of service, version, host, environment`, "source");
    }
    if (typeof value !== "string") throw new InvalidEvent(`source.${name} is no text`, "source");
    source[name] = cutWithDigest(value, SOURCE_LIMIT);
  }
  return source;
}

/** Many applications take the address from a header that a stranger may write. */
function moveStrangeAddress(plain: Plain): void {
  const address = plain.ip_address;
  if (typeof address !== "string" || isIP(address) === 4) return;
  if (isIP(address) === 6 && !address.includes("%")) return;
  delete plain.ip_address;
  const metadata = (plain.metadata ?? {}) as { readonly [name: string]: Json };
  plain.metadata = { ...metadata, ip_address: cutWithDigest(address, 100) };
}

function converted(value: unknown, depth: number, room: { left: number }, field: string): Json {
  room.left -= 1;
  switch (typeof value) {
    case "string":
      return value.length > LONGEST_TEXT
        ? `${clean(value.slice(0, LARGE_TEXT))}~(${value.length} characters)`
        : clean(value);
    case "boolean":
      return value;
    case "number":
      return Math.abs(value) <= LARGEST_INTEGER ? value : String(value); // NaN is not
    case "bigint":
      return value >= -BigInt(LARGEST_INTEGER) && value <= BigInt(LARGEST_INTEGER) ? Number(value) : bigText(value);
    case "undefined":
      return null;
    case "object":
      return value === null ? null : ofObject(value, depth, room, field);
    default:
      throw new InvalidEvent(`${field} holds a ${typeof value}: expected JSON's values`, field);
  }
}

function bigText(value: bigint): string {
  return value > -(2n ** 8192n) && value < 2n ** 8192n ? value.toString() : `(${value.toString(16).length} hex digits)`;
}

function ofObject(value: object, depth: number, room: { left: number }, field: string): Json {
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? "Invalid Date" : value.toISOString();
  if (value instanceof Error) return value.constructor.name;
  if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer) {
    throw new InvalidEvent(`${field} holds bytes: expected JSON's values`, field);
  }
  if (typeof (value as { toJSON?: unknown }).toJSON === "function") {
    if (depth > DEEPEST) return "(nested too deep)"; // also a toJSON that gives itself
    return converted((value as { toJSON: () => unknown }).toJSON(), depth + 1, room, field);
  }
  if (value instanceof String || value instanceof Number || value instanceof Boolean) {
    return converted(value.valueOf(), depth, room, field);
  }
  if (depth >= DEEPEST) return "(nested too deep)";
  if (Array.isArray(value) || value instanceof Set) {
    const items: Json[] = [];
    for (const item of value) {
      if (room.left <= 0) {
        items.push("(left out)");
        break;
      }
      items.push(converted(item, depth + 1, room, field));
    }
    return items;
  }
  const plain: Record<string, Json> = {};
  for (const [name, member] of value instanceof Map ? value : Object.entries(value)) {
    if (member === undefined) continue;
    let key = clean(String(name)).slice(0, LONGEST_TEXT);
    while (Object.hasOwn(plain, key)) key += "'"; // two names that are written alike: neither may vanish
    if (room.left <= 0) {
      plain["(left out)"] = true;
      break;
    }
    put(plain, key, converted(member, depth + 1, room, field));
  }
  return plain;
}

function lean(name: string, value: Json): Json {
  if (typeof value === "string") return cutWithDigest(value, LARGE_TEXT);
  if (value === null || typeof value !== "object" || name === "source") return value;
  const written = JSON.stringify(value);
  const size = Buffer.byteLength(written);
  if (size <= LARGE_OBJECT) return value;
  if (Array.isArray(value)) return [`(${value.length} left out)`];
  return { left_out_bytes: size, sha256: createHash("sha256").update(written).digest("hex") };
}
