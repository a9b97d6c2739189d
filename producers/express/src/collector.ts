/**
 * One request to the collector, and what its answer means for the events in it.
 *
 * The invariant: events count as taken only when the collector says so (202, 207), which it does after Kafka has
 * acknowledged them. What is not understood counts as not taken: it is sent again, and known by its ids. Redirects are
 * not followed, so that the key goes nowhere else.
 */

import * as http from "node:http";
import * as https from "node:https";
import { promisify } from "node:util";
import { gzip } from "node:zlib";

import { Misconfigured } from "./errors.js";

const packed = promisify(gzip);
const PACK_FROM_BYTES = 1_024;
const LONGEST_ANSWER = 1_048_576;
const LONGEST_WAIT_MS = 300_000;

export interface Refusal {
  /** Its place among the events of the request, from 0. */
  readonly index: number;
  readonly why: string;
}

/**
 * `taken`: all but the refused are written. `unfit`: the request as a whole can't be taken, whenever it comes. `later`:
 * none may count as taken; `afterMs` where the collector says when to come again.
 */
export type Answer =
  | { readonly kind: "taken"; readonly refusals: readonly Refusal[] }
  | { readonly kind: "unfit"; readonly why: string }
  | { readonly kind: "later"; readonly why: string; readonly afterMs: number | undefined };

export interface Tls {
  readonly ca?: string | Uint8Array;
  readonly cert?: string | Uint8Array;
  readonly key?: string | Uint8Array;
}

/** A connection that was kept, and that the collector has closed meanwhile: no sign that anything is wrong. */
class Stale extends Error {}

export class Collector {
  readonly #url: URL;
  readonly #headers: Readonly<Record<string, string>>;
  readonly #agent: http.Agent;
  readonly #timeoutMs: number;

  /** `url`: where the collector listens. Throws `Misconfigured`. */
  constructor(url: string, key: string | undefined, tls: Tls | undefined, timeoutMs: number) {
    let base: URL;
    try {
      base = new URL(url);
    } catch {
      throw new Misconfigured(`url '${url}' is none: expected one such as https://collector.example.com:8481`);
    }
    if (base.protocol !== "http:" && base.protocol !== "https:") {
      throw new Misconfigured(`url '${url}': expected http or https`);
    }
    if (base.username !== "" || base.password !== "" || base.search !== "") {
      throw new Misconfigured("url: expected no user, password or query in it; the key is a setting of its own");
    }
    if (key !== undefined && !/^[!-~]{1,512}$/.test(key)) {
      throw new Misconfigured("key is none: expected what `sealstream collect keys create` has printed");
    }
    if (tls !== undefined && base.protocol !== "https:") throw new Misconfigured("tls needs an https url");
    this.#url = new URL(`${base.pathname.replace(/\/+$/, "").replace(/\/v1\/events$/, "")}/v1/events`, base);
    this.#headers = {
      "content-type": "application/x-ndjson",
      accept: "application/json",
      "user-agent": "sealstream-express",
      ...(key === undefined ? {} : { authorization: `Bearer ${key}` }),
    };
    const options = { keepAlive: true, maxSockets: 4 };
    try {
      this.#agent = base.protocol === "https:" ? new https.Agent({ ...options, ...(tls as https.AgentOptions) }) : new http.Agent(options);
    } catch (error) {
      throw new Misconfigured(`tls: ${(error as Error).message}`);
    }
    this.#timeoutMs = timeoutMs;
  }

  /** Whether the key travels in the clear to another machine. */
  get inTheClear(): boolean {
    const local = /^(?:localhost|127(?:\.\d+){3}|\[::1\])$/.test(this.#url.hostname);
    return this.#url.protocol === "http:" && !local;
  }

  /** Never rejects, and ends within the timeout. */
  async post(events: readonly string[], ended: AbortSignal): Promise<Answer> {
    try {
      const body = Buffer.from(`${events.join("\n")}\n`);
      const encoding = body.length < PACK_FROM_BYTES ? undefined : "gzip";
      const sent = encoding === undefined ? body : await packed(body, { level: 3 });
      try {
        return await this.#exchange(sent, encoding, ended, events.length);
      } catch (error) {
        if (!(error instanceof Stale)) throw error;
        return await this.#exchange(sent, encoding, ended, events.length);
      }
    } catch (error) {
      return { kind: "later", why: (error as Error)?.message || String(error), afterMs: undefined };
    }
  }

  close(): void {
    this.#agent.destroy();
  }

  #exchange(body: Buffer, encoding: string | undefined, ended: AbortSignal, count: number): Promise<Answer> {
    return new Promise((resolve, reject) => {
      if (ended.aborted) return reject(new Error("closed"));
      const request = (this.#url.protocol === "https:" ? https : http).request(this.#url, {
        method: "POST",
        agent: this.#agent,
        headers: {
          ...this.#headers,
          "content-length": body.length,
          ...(encoding === undefined ? {} : { "content-encoding": encoding }),
        },
      });
      let open = true;
      const fail = (error: Error): void => {
        if (!open) return;
        open = false;
        clearTimeout(timer);
        ended.removeEventListener("abort", stop);
        request.destroy();
        reject(error);
      };
      const stop = (): void => fail(new Error("closed"));
      const timer = setTimeout(() => fail(new Error(`no answer in ${this.#timeoutMs / 1000} s`)), this.#timeoutMs);
      timer.unref();
      ended.addEventListener("abort", stop, { once: true });
      request.on("socket", (socket) => socket.unref()); // events that wait don't keep a process alive; `close` does
      request.on("error", (error) => fail(request.reusedSocket ? new Stale(error.message) : error));
      request.on("response", (response) => {
        const chunks: Buffer[] = [];
        let size = 0;
        response.on("data", (chunk: Buffer) => {
          size += chunk.length;
          if (size > LONGEST_ANSWER) fail(new Error("the answer is too long to be the collector's"));
          else chunks.push(chunk);
        });
        response.on("close", () => fail(new Error("the answer broke off"))); // else it has ended before
        response.on("error", fail);
        response.on("end", () => {
          clearTimeout(timer);
          ended.removeEventListener("abort", stop);
          open = false;
          resolve(meaning(response.statusCode ?? 0, response.headers, Buffer.concat(chunks), count));
        });
      });
      request.end(body);
    });
  }
}

function meaning(status: number, headers: http.IncomingHttpHeaders, body: Buffer, count: number): Answer {
  const told = objectIn(body);
  const refusals = refusalsIn(told, count);
  if (status === 202 && told?.accepted === count) return { kind: "taken", refusals: [] };
  if ((status === 207 || status === 422) && refusals !== undefined) {
    const accepted = told?.accepted;
    if (accepted === count - refusals.length && (status === 207 || accepted === 0)) return { kind: "taken", refusals };
  }
  const detail = typeof told?.detail === "string" ? `: ${told.detail.slice(0, 300)}` : "";
  const why = `the collector answered ${status}${detail}`;
  const ours = /^application\/problem\+json/i.test(headers["content-type"] ?? ""); // else some proxy's
  if (status === 413 || ((status === 400 || status === 422) && ours)) return { kind: "unfit", why };
  return { kind: "later", why, afterMs: retryAfterMs(headers["retry-after"]) };
}

function objectIn(body: Buffer): Record<string, unknown> | undefined {
  try {
    const parsed: unknown = JSON.parse(body.toString("utf8"));
    return typeof parsed === "object" && parsed !== null ? (parsed as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

/** undefined: what it says about refusals does not fit what was sent. */
function refusalsIn(told: Record<string, unknown> | undefined, count: number): Refusal[] | undefined {
  if (!Array.isArray(told?.refusals) || told.refused !== told.refusals.length) return undefined;
  const found = new Map<number, Refusal>();
  for (const each of told.refusals as readonly Record<string, unknown>[]) {
    const line = each?.line;
    if (typeof line !== "number" || !Number.isInteger(line) || line < 1 || line > count) return undefined;
    found.set(line, { index: line - 1, why: String(each.why).slice(0, 500) });
  }
  return found.size === told.refused ? [...found.values()] : undefined;
}

/** RFC 9110 section 10.2.3: seconds, or a date. */
function retryAfterMs(value: string | undefined): number | undefined {
  if (value === undefined) return undefined;
  const ms = /^\d{1,9}$/.test(value.trim()) ? Number(value) * 1000 : Date.parse(value) - Date.now();
  return Number.isNaN(ms) ? undefined : Math.min(Math.max(ms, 0), LONGEST_WAIT_MS);
}
