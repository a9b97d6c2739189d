/**
 * A batch of events on its way to the collector, until each is taken or refused: the same events again and again, with
 * full jitter between, never before `Retry-After`. A batch that is too large for the collector, or holds one event that
 * spoils the rest, is sent in halves, in order.
 *
 * The invariant: events go in their order and one batch at a time, so that their numbers reach Kafka in order; nothing
 * is given up but by whoever ends the whole.
 */

import type { Collector } from "./collector.js";
import type { Warnings } from "./warning.js";

const FIRST_WAIT_MS = 250;
const LONGEST_WAIT_MS = 30_000;

export interface Numbered {
  readonly number: number;
  readonly json: string;
}

/** What can cut a wait short, or end all. */
export class Patience {
  readonly #ending = new AbortController();
  #hurried: (() => void) | undefined;

  get ended(): AbortSignal {
    return this.#ending.signal;
  }

  /** Whatever waits tries again at once. */
  hurry(): void {
    this.#hurried?.();
  }

  /** Nothing is tried any more. */
  end(): void {
    this.#ending.abort();
  }

  /** Holds no process alive. `hurried`: whether `hurry` may cut it short. */
  wait(ms: number, hurried = true): Promise<void> {
    return new Promise((resolve) => {
      if (this.ended.aborted) return resolve();
      const done = (): void => {
        clearTimeout(timer);
        this.ended.removeEventListener("abort", done);
        this.#hurried = undefined;
        resolve();
      };
      const timer = setTimeout(done, ms);
      timer.unref();
      if (hurried) this.#hurried = done;
      this.ended.addEventListener("abort", done, { once: true });
    });
  }
}

type Taken = (events: readonly Numbered[], refused: ReadonlyMap<number, string>) => void;

export class Sending {
  constructor(
    readonly collector: Collector,
    readonly warnings: Warnings,
  ) {}

  /** Whether all were taken or refused; else the patience has ended. `taken`: told of each part, and of the refused
   * in it, with why. */
  async send(
    batch: readonly Numbered[],
    patience: Patience,
    taken: Taken,
  ): Promise<boolean> {
    const waiting: (readonly Numbered[])[] = [batch];
    for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
      const half = await this.#until(next, patience, taken);
      if (half === undefined) return false;
      if (half > 0) waiting.push(next.slice(half), next.slice(0, half));
    }
    return true;
  }

  /** 0: done; more: it must be sent in parts, the first of so many; undefined: ended. */
  async #until(
    batch: readonly Numbered[],
    patience: Patience,
    taken: Taken,
  ): Promise<number | undefined> {
    for (let attempt = 0; !patience.ended.aborted; attempt += 1) {
      const answer = await this.collector.post(
        batch.map((event) => event.json),
        patience.ended,
      );
      if (answer.kind === "taken") {
        const refused = new Map(answer.refusals.map((each) => [(batch[each.index] as Numbered).number, each.why]));
        for (const why of refused.values()) this.warnings.say(`refused: ${why}`, `the collector refused an audit event: ${why}`);
        taken(batch, refused);
        return 0;
      }
      if (answer.kind === "unfit") {
        if (batch.length > 1) return Math.ceil(batch.length / 2);
        this.warnings.say(`refused: ${answer.why}`, `an audit event was refused: ${answer.why}`);
        taken(batch, new Map([[(batch[0] as Numbered).number, answer.why]]));
        return 0;
      }
      if (patience.ended.aborted) return undefined;
      this.warnings.say("later", `audit events wait: ${answer.why}`);
      await patience.wait(waitMs(attempt, answer.afterMs), answer.afterMs === undefined);
    }
    return undefined;
  }
}

/** Full jitter; after what the collector asked for. */
function waitMs(attempt: number, afterMs: number | undefined): number {
  const most = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** Math.min(attempt, 20));
  const jitter = Math.random() * most;
  return afterMs === undefined ? jitter : afterMs + Math.min(jitter, 1_000);
}
