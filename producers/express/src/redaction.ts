/**
 * What never leaves the process: passwords, tokens, card numbers, and what an application adds, become `[redacted]`.
 *
 * Three rules, the same as those of Sealstream's Python client:
 *
 * - by name: the value of a member in `metadata`, `old_values` or `new_values`, at any depth, whose name says a secret
 *   (`password`, `userPassword`, `X-Api-Key`, `card_number`); truth values stay, since `password_changed` is none. Also
 *   where name and value stand side by side: `["Cookie", "..."]`, `{"name": "password", "value": "..."}`, and behind
 *   `--password` in a list;
 * - by path: `new_values.address.*`, where `*` is any one member or item;
 * - by pattern: within texts there and in `reason`: card numbers (by their check digit), JSON Web Tokens, bearer and
 *   basic credentials, passwords in URLs, private keys, `token=...` (up to a space, or within quotes), and the keys that
 *   begin with what their issuer has given them (`ghp_`, `sk_live_`, `AKIA`, ...).
 *
 * The invariant: a value is replaced whole or a text's part by one word; nothing is hashed, since a password's digest
 * can be searched. Values are JSON's; what holds a secret is copied. Pure.
 */

import { Misconfigured } from "./errors.js";
import type { Json } from "./event.js";
import { put } from "./texts.js";

export const REDACTED = "[redacted]";

// Matched as whole words of a name, however it is written; the second list also within a word ("userpassword").
const SECRET_WORDS = new Set(
  (
    "authorization bearer cookie cookies credential credentials csrf csrftoken cvc cvc2 cvv cvv2 jwt otp passcode pin " +
    "pwd secret secrets sessionid token tokens totp"
  ).split(" "),
);
const SECRET_PARTS = (
  "accesskey accesstoken apikey authtoken cardno cardnumber clientsecret creditcard idtoken passphrase passwd " +
  "password privatekey refreshtoken secretkey securitycode sessionkey signingkey"
).split(" ");

// "pass" alone, and behind whose password it is; not "bypass", "boarding_pass", "pass_count".
const PASS = /(?:^|admin|auth|db|ftp|ldap|login|mail|pg|proxy|redis|root|smtp|sql|ssh|sudo|user)pass[0-9]*$/;

const SECRET_ENDS = /(?:secret|token)$/; // "mysecret"

export const OBJECTS = ["metadata", "old_values", "new_values"] as const;
const BY_PATH = new Set<string>([
  ...OBJECTS,
  ...["changed_fields", "ip_address", "reason", "resource_id", "session_id", "user_agent", "subject_id"],
]);
const SHORTEST_TEXT = 8;
const LONGEST_NAME = 64; // of a secret that is given beside its name
const MOST_VERDICTS = 4096;

// What Python's notation calls \w, \d, \s and \b, in all languages.
const WORD = String.raw`\p{L}\p{N}_`;
const SPACE = String.raw`\p{White_Space}\x1c-\x1f`;
const BEGINS = `(?<![${WORD}])`; // before a character of a word

// ISO/IEC 7812-1: 13 to 19 digits, written together or in a card's groups
const CARD =
  /(?<![\p{L}\p{N}_.])(?:[2-6]\d{12,18}|[2-6]\d{3}([ -])\d{4}\1\d{4}\1\d{4}(?:\1\d{3})?|3\d{3}([ -])\d{6}\2\d{5})(?![\p{L}\p{N}_]|\.\d)/gu;
const DIGITS = /\d(?:\d{12}|\d{3}[ -]\d)/;
const JWT = new RegExp(String.raw`${BEGINS}eyJ[${WORD}\-]{8,}\.[${WORD}\-]{4,}\.[${WORD}\-]*`, "gu");
const CREDENTIALS = new RegExp( // words of a language hold no digit, and no capital behind a small letter
  String.raw`${BEGINS}((?:[Bb]earer|BEARER|[Bb]asic|BASIC)[${SPACE}]+)` +
    String.raw`(?=[${WORD}.~+/\-]*[\p{Nd}=]|[^a-z${SPACE}]*[a-z][^A-Z${SPACE}]*[A-Z])[${WORD}.~+/=\-]{8,}`,
  "gu",
);
const ISSUED_BEGIN = ["gh", "glpat-", "xox", "k_live_", "k_test_", "AKIA", "AIza", "npm_", "slk_"];
const ISSUED =
  /(?<![A-Za-z0-9])(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}|glpat-[A-Za-z0-9_-]{20,}|xox[abeoprs]-[A-Za-z0-9-]{10,}|[sr]k_(?:live|test)_[A-Za-z0-9]{16,}|AKIA[A-Z0-9]{16}|AIza[A-Za-z0-9_-]{35}|npm_[A-Za-z0-9]{36}|slk_[A-Za-z0-9._-]{20,})/g;
const URL_PASSWORD = new RegExp(String.raw`(://[^${SPACE}/:@]{0,256}:)[^${SPACE}/]{1,4096}(?=@)`, "gu");
const PRIVATE_KEY = /-----BEGIN [A-Z ]*PRIVATE KEY-----[^]*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)/gu;
const ASSIGNED_WORDS = ["passw", "passphrase", "pwd", "secret", "token", "api", "cvv", "cvc"];
const ASSIGNED = new RegExp(
  String.raw`((?:password|passwd|passphrase|pwd|secret|token|api[_\-]?key|cvv|cvc)["']?[${SPACE}]{0,8}[=:][${SPACE}]{0,8})` +
    String.raw`(?!\[redacted\])(?:"(?:\\.|[^"\\])*"?|'(?:\\.|[^'\\])*'?|[^${SPACE}"'&,;\}\]]+)`,
  "giu",
);

export interface RedactionOptions {
  /** More words of names that say a secret. */
  readonly names?: readonly string[];
  /** Names that are no secrets, as they are written (`max_tokens`). */
  readonly keep?: readonly string[];
  /** Places in the event, which begin with one of its fields. */
  readonly paths?: readonly string[];
  /** What one of these matches is replaced, or only its group `secret` where it has one. */
  readonly patterns?: readonly (RegExp | string)[];
  /** `false`: only what is given here. */
  readonly defaults?: boolean;
}

/** An event in the making: JSON's values by the names of its fields. */
export type Plain = Record<string, Json | undefined>;

export class Redaction {
  readonly #names: ReadonlySet<string>;
  readonly #keep: ReadonlySet<string>;
  readonly #paths: readonly (readonly string[])[];
  readonly #patterns: readonly RegExp[];
  readonly #defaults: boolean;
  readonly #verdicts = new Map<string, boolean>();

  /** Throws `Misconfigured`. */
  constructor(options: RedactionOptions = {}) {
    const { names = [], keep = [], paths = [], patterns = [], defaults = true } = options;
    for (const each of [names, keep, paths, patterns]) {
      if (!Array.isArray(each)) throw new Misconfigured("redaction: expected lists of names, keep, paths and patterns");
    }
    this.#names = new Set(names.map((name) => wordsOf(name).join("")));
    this.#keep = new Set(keep);
    this.#paths = paths.map(pathOf);
    this.#patterns = patterns.map(patternOf);
    this.#defaults = defaults;
  }

  /** Nothing is redacted. */
  static none(): Redaction {
    return new Redaction({ defaults: false });
  }

  /** Replaces what must not leave, in the fields of `event`. */
  redact(event: Plain): void {
    for (const name of OBJECTS) {
      const value = event[name];
      if (value !== undefined && value !== null) event[name] = this.#value(value);
    }
    if (typeof event.reason === "string") event.reason = this.text(event.reason);
    for (const path of this.#paths) {
      const first = path[0] as string;
      if (first === "ip_address") event[first] = null; // its field takes no such text
      else if (event[first] !== undefined && event[first] !== null) event[first] = at(event[first], path.slice(1));
    }
  }

  /** The text without what the patterns find. */
  text(text: string): string {
    if (this.#defaults && text.length >= SHORTEST_TEXT) text = withoutDefaults(text);
    for (const pattern of this.#patterns) text = text.replace(pattern, found);
    return text;
  }

  /** Whether what is called so is redacted. */
  isSecret(name: string): boolean {
    let verdict = this.#verdicts.get(name);
    if (verdict === undefined) {
      if (this.#verdicts.size >= MOST_VERDICTS) this.#verdicts.clear(); // strangers may choose names
      verdict = this.#judged(name);
      this.#verdicts.set(name, verdict);
    }
    return verdict;
  }

  #judged(name: string): boolean {
    if (this.#keep.has(name)) return false;
    const words = wordsOf(name);
    const squeezed = words.join("");
    if (this.#defaults) {
      if (words.some((word) => SECRET_WORDS.has(word))) return true;
      if (SECRET_PARTS.some((part) => squeezed.includes(part))) return true;
      if (PASS.test(squeezed)) return true;
      const bare = words.map((word) => word.replace(/[0-9]+$/, ""));
      if (bare.some((word) => SECRET_ENDS.test(word) || SECRET_WORDS.has(word))) return true;
    }
    return this.#names.size > 0 && (this.#names.has(squeezed) || words.some((word) => this.#names.has(word)));
  }

  #value(value: Json): Json {
    if (typeof value === "string") return this.text(value);
    if (typeof value === "number") {
      // a card's number has 13 digits or more
      return value > 999_999_999_999 && this.text(String(value)) === REDACTED ? REDACTED : value;
    }
    if (value === null || typeof value === "boolean") return value;
    if (Array.isArray(value)) return this.#list(value);
    return this.#object(value as { readonly [name: string]: Json });
  }

  /** Behind a secret's name in a list: the other of two, or what follows an option of a command. */
  #list(value: readonly Json[]): Json {
    return value.map((item, place) => {
      const name = value[place - 1];
      const beside = typeof name === "string" && (value.length === 2 || name.startsWith("--"));
      const text = typeof item === "string" || typeof item === "number";
      if (beside && text && [...name].length <= LONGEST_NAME && this.isSecret(name)) return REDACTED;
      return this.#value(item);
    });
  }

  /** The same object where it holds no secret. */
  #object(value: { readonly [name: string]: Json }): Json {
    let redacted: Record<string, Json> | undefined;
    for (const name of Object.keys(value)) {
      const member = value[name] as Json;
      if (member === null || typeof member === "boolean") continue;
      const made = this.isSecret(name) ? REDACTED : this.#value(member);
      if (made === member) continue;
      redacted ??= { ...value };
      put(redacted, name, made);
    }
    const label = "name" in value ? value.name : value.key;
    if ("value" in value && typeof label === "string" && this.isSecret(label)) {
      return { ...(redacted ?? value), value: REDACTED };
    }
    return redacted ?? value;
  }
}

function wordsOf(name: string): string[] {
  if (/^[a-z0-9]*$/.test(name)) return name === "" ? [] : [name];
  if (name === name.toLowerCase() && /^[\p{L}\p{N}]+$/u.test(name)) return [name];
  const spaced = name.slice(0, 256).replace(/(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])/g, " ");
  return spaced
    .replace(/[^A-Za-z0-9]+/g, " ")
    .toLowerCase()
    .split(" ")
    .filter((word) => word !== "");
}

function pathOf(text: string): readonly string[] {
  const path = text.split(".");
  const first = path[0] as string;
  const below = (OBJECTS as readonly string[]).includes(first);
  if (!BY_PATH.has(first) || path.includes("") || (path.length > 1 && !below)) {
    throw new Misconfigured(
      `redaction: path '${text}': expected one of ${[...BY_PATH].sort().join(", ")}, and below ${OBJECTS.join(", ")} ` +
        "names with dots between, or *",
    );
  }
  return path;
}

function patternOf(pattern: RegExp | string): RegExp {
  try {
    const source = typeof pattern === "string" ? pattern : pattern.source;
    const flags = typeof pattern === "string" ? "" : pattern.flags.replace(/[gyd]/g, "");
    return new RegExp(source, `${flags}gd`);
  } catch (error) {
    throw new Misconfigured(`redaction: ${String(pattern)} is no regular expression: ${(error as Error).message}`);
  }
}

function found(whole: string, ...rest: unknown[]): string {
  const groups = rest[rest.length - 1];
  if (typeof groups !== "object" || groups === null) return REDACTED;
  const secret = (groups as Record<string, string | undefined>).secret;
  return secret === undefined ? REDACTED : whole.replace(secret, () => REDACTED);
}

/** `value` with what is at the path redacted; the same where nothing is there. */
function at(value: Json, path: readonly string[]): Json {
  if (path.length === 0) {
    if (Array.isArray(value)) return [REDACTED];
    if (typeof value === "object" && value !== null) {
      return Object.fromEntries(Object.keys(value).map((name) => [name, REDACTED]));
    }
    return REDACTED;
  }
  const [step, ...rest] = path as [string, ...string[]];
  const inner = (name: string, member: Json): Json => {
    if (member === null || (step !== "*" && step !== name)) return member;
    return rest.length === 0 ? REDACTED : at(member, rest);
  };
  if (Array.isArray(value)) return value.map((item: Json, index) => inner(String(index), item));
  if (typeof value === "object" && value !== null) {
    const redacted: Record<string, Json> = {};
    for (const [name, member] of Object.entries(value)) put(redacted, name, inner(name, member));
    return redacted;
  }
  return value;
}

/** Each pattern is tried only where a look at the text says that it may be there. */
function withoutDefaults(text: string): string {
  if (text.length >= 13 && DIGITS.test(text)) text = text.replace(CARD, card);
  if (text.includes("eyJ")) text = text.replace(JWT, REDACTED);
  if (text.length >= 15 && ISSUED_BEGIN.some((begin) => text.includes(begin))) text = text.replace(ISSUED, REDACTED);
  const spaced = text.includes(" ") || text.includes("\t");
  const assigned = text.includes("=") || text.includes(":");
  if (!spaced && !assigned) return text;
  const lower = text.toLowerCase();
  if (spaced && (lower.includes("bearer") || lower.includes("basic"))) {
    text = text.replace(CREDENTIALS, `$1${REDACTED}`);
  }
  if (lower.includes("private key-----")) text = text.replace(PRIVATE_KEY, REDACTED);
  if (assigned) {
    if (ASSIGNED_WORDS.some((word) => lower.includes(word))) text = text.replace(ASSIGNED, `$1${REDACTED}`);
    if (text.includes("://") && text.includes("@")) text = text.replace(URL_PASSWORD, `$1${REDACTED}`);
  }
  return text;
}

function card(number: string): string {
  let sum = 0;
  let double = false;
  for (let index = number.length - 1; index >= 0; index -= 1) {
    const digit = number.charCodeAt(index) - 48;
    if (digit < 0 || digit > 9) continue;
    const value = double ? digit * 2 : digit;
    sum += value > 9 ? value - 9 : value;
    double = !double;
  }
  return sum % 10 === 0 ? REDACTED : number; // ISO/IEC 7812-1, annex B
}
