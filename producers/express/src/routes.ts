/**
 * What a request is called: its route's template, and the resource that its path names.
 *
 * The invariant: an action has one of a few values however many paths are asked for, and whatever a stranger writes
 * into a path comes out as text that an event accepts, so that nobody can make a request too odd to be logged. Pure but
 * for the list of prefixes that were seen.
 */

import { atMost, clean, cutWithDigest } from "./texts.js";

export type Params = Readonly<Record<string, string>>;

const METHODS = new Set(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "QUERY"]);
const MOST_PREFIXES = 1_000;

/** `get:/patients/{patientId}`; `get:unmatched` where no route matched. At most 128 bytes, a digest at the cut. */
export function actionNamed(method: string, template: string | undefined): string {
  const verb = METHODS.has(method) ? method.toLowerCase() : "other";
  return cutWithDigest(clean(`${verb}:${template || "unmatched"}`), 128);
}

/** Type and id of the resource that a path names: its last parameter; without any, the path itself. */
export function resourceIn(params: Params, path: string): readonly [string, string] {
  const last = Object.entries(params).pop();
  if (last === undefined) return ["api_endpoint", atMost(clean(path), 512) || "/"];
  const [name, value] = last;
  const type = name.replace(/_id$|(?<=[a-z0-9])Id$/, "") || name;
  return [atMost(clean(/^(?:\d+|\*)$/.test(type) ? "path" : type), 128), atMost(clean(value), 512) || "-"];
}

/** Parameters as text, in their order; `undefined` ones (of optional parts) are none. */
export function paramsAsText(params: unknown): Params {
  const texts: Record<string, string> = {};
  if (typeof params !== "object" || params === null) return texts;
  for (const [name, value] of Object.entries(params)) {
    if (value === undefined || value === null) continue;
    texts[name] = Array.isArray(value) ? value.join("/") : String(value);
  }
  return texts;
}

/** A route's own path, in whatever notation of Express 4, 5 or Fastify, with `{name}` for each parameter. */
export function templateOf(path: unknown): string {
  if (Array.isArray(path)) return path.map(templateOf).join("|");
  if (typeof path !== "string") return String(path);
  return path
    .replace(/\\(.)/g, "$1")
    .replace(/\{([^{}]*)\}/g, "$1") // Express 5: optional parts
    .replace(/[:*]"([^"]*)"/g, "{$1}")
    .replace(/:([\p{ID_Start}$_][\p{ID_Continue}$]*)(?:\([^)]*\)+)?[?*+]?/gu, "{$1}")
    .replace(/\*([\p{ID_Start}$_][\p{ID_Continue}$]*)/gu, "{$1}");
}

/** Prefixes of routers as templates. A prefix that is a pattern could have any number of values: it then is `/*`. */
export class Prefixes {
  readonly #seen = new Set<string>();

  /** The concrete prefix with each parameter's value replaced by its name, from the right. */
  template(prefix: string, params: Params): string {
    if (prefix === "" || prefix === "/") return "";
    const parts = prefix.split("/");
    const values = parts.map(decoded);
    for (const [name, value] of Object.entries(params).reverse()) {
      const index = value === "" ? -1 : values.lastIndexOf(value);
      if (index >= 0) {
        parts[index] = `{${name}}`;
        values[index] = ""; // is no other parameter's
      } else if (value !== "" && prefix.includes(value)) {
        return "/*";
      }
    }
    const made = parts.join("/");
    if (!this.#seen.has(made)) {
      if (this.#seen.size >= MOST_PREFIXES) return "/*";
      this.#seen.add(made);
    }
    return made;
  }
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
