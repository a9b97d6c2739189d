/** Texts as an event accepts them. Pure. */

import { createHash } from "node:crypto";

const LONE_SURROGATE = /\p{Surrogate}/gu;
const SUSPECT = /[\0\ud800-\udfff]/;

/** Without NUL and lone surrogates, which become U+FFFD. */
export function clean(text: string): string {
  if (!SUSPECT.test(text)) return text;
  return text.replace(LONE_SURROGATE, "\ufffd").replace(/\0/g, "\ufffd");
}

/** At most `limit` bytes of UTF-8; one that is cut ends in `~` and 16 hex digits of its SHA-256. */
export function cutWithDigest(text: string, limit: number): string {
  if (text.length * 3 <= limit || Buffer.byteLength(text) <= limit) return text;
  const digest = createHash("sha256").update(text).digest("hex").slice(0, 16);
  return `${atMost(text, limit - 17)}~${digest}`;
}

/** The longest beginning of at most `limit` bytes of UTF-8. */
export function atMost(text: string, limit: number): string {
  if (text.length * 3 <= limit) return text;
  const data = Buffer.from(text.slice(0, limit), "utf8");
  if (data.length <= limit) return data.toString("utf8");
  let end = limit;
  while (end > 0 && ((data[end] ?? 0) & 0xc0) === 0x80) end -= 1;
  return data.toString("utf8", 0, end);
}

/** Sets a member that a stranger may have named, `__proto__` included. */
export function put<T>(object: Record<string, T>, name: string, value: T): void {
  if (name === "__proto__") Object.defineProperty(object, name, { value, enumerable: true, configurable: true, writable: true });
  else object[name] = value;
}
