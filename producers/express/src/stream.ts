/**
 * One process's numbered stream of events on its way to the collector.
 *
 * A number is taken when an event enters the queue, which is sent in order, one batch at a time; so the order of numbers
 * is the order in Kafka, and a number that the queue refuses is given to the next event. The queue is bounded in events
 * and bytes. With a spool, an event is on disk before it is queued, and what the queue has no room for waits there alone.
 *
 * The crash story: what waits in memory dies with the process. Its numbers are missing and no `producer.closed` was sent,
 * so the chain shows that the stream ended in disorder. What is in the spool is sent by the next client on it.
 */

import type { Journal } from "./journal.js";
import { Losses } from "./losses.js";
import type { Stats } from "./losses.js";
import { Patience } from "./sending.js";
import type { Numbered, Sending } from "./sending.js";
import { wording } from "./warning.js";

const BATCH_EVENTS = 500;
const BATCH_BYTES = 524_288;
const BYTES_BESIDE = 256; // what an event costs in memory beside its text
const ROOM_FOR_STATEMENTS = 65_536;
const TEND_MS = 1_000;
const READ_EVENTS = 2_000;
const READ_BYTES = 2 * 1024 * 1024;
const HURRY_MS = 500;
const REPORT_AGAIN_MS = 3_600_000;

interface Queued extends Numbered {
  readonly bytes: number;
}

export interface Bounds {
  readonly events: number;
  readonly bytes: number;
  readonly lingerMs: number;
}

/** Makes the JSON of an event with this number. */
export type Made = (number: number) => { readonly json: string; readonly bytes: number };

/** Makes the JSON of a statement of the client itself. */
export type Statement = (action: string, metadata: Record<string, string | number>, number: number) => { readonly json: string; readonly bytes: number };

export class Stream {
  readonly losses = new Losses();
  readonly #sending: Sending;
  readonly #bounds: Bounds;
  readonly #statement: Statement;
  readonly #journal: Journal | undefined;
  readonly #patience = new Patience();
  readonly #lingering = new Patience();
  #queue: Queued[] = [];
  #queueBytes = 0;
  #queueEnd = 0; // the number after the last in the queue; below `#next` where events wait on disk alone
  #next = 0;
  #acknowledged = 0;
  #failed = 0;
  #statements = 0;
  #settledWithReport = 0;
  readonly #reports = new Map<number, readonly [reason: string, count: number] | undefined>();
  #reportAfter = 0;
  #running = false;
  #ended = false;
  #stopped = false;
  #tending: NodeJS.Timeout | undefined;
  readonly #waiters = new Set<() => void>();

  constructor(sending: Sending, bounds: Bounds, statement: Statement, journal: Journal | undefined) {
    this.#sending = sending;
    this.#bounds = bounds;
    this.#statement = statement;
    this.#journal = journal;
  }

  get pending(): number {
    return this.#next - this.#acknowledged;
  }

  /** Numbers and queues an event; the reason when it is dropped. Never waits. Throws what `made` throws. */
  send(made: Made): string | undefined {
    if (this.#ended) return "closed";
    return this.#take(made(this.#next), false);
  }

  /** Something was lost: it is reported, even if nothing is ever sent. */
  lost(reason: string, count = 1): void {
    this.losses.add(reason, count);
    if (!this.#ended) this.#tend();
  }

  /** States losses at once. */
  report(): void {
    for (const [reason, count] of this.losses.take()) {
      const made = this.#statement("audit.loss", { reason, count }, this.#next);
      if (!this.#state(made, [reason, count])) this.losses.giveBack(reason, count);
    }
    this.#settledWithReport = this.#next;
  }

  /** Queues a statement of the client itself; `report`: the losses that it states. */
  #state(made: { readonly json: string; readonly bytes: number }, report?: readonly [string, number]): boolean {
    const number = this.#next;
    if (this.#take(made, true) !== undefined) return false;
    this.#reports.set(number, report);
    this.#statements += 1;
    return true;
  }

  #take(made: { readonly json: string; readonly bytes: number }, isStatement: boolean): string | undefined {
    const { json, bytes } = made;
    const number = this.#next;
    const own = isStatement ? ROOM_FOR_STATEMENTS : 0;
    const room =
      this.#queueEnd === number &&
      this.#queue.length < this.#bounds.events + own / 1_024 &&
      this.#queueBytes + bytes + BYTES_BESIDE <= this.#bounds.bytes + own;
    const spooled = this.#journal?.append({ number, json }) ?? false;
    if (!spooled) {
      if (!room) return this.#journal === undefined ? "queue full" : "spool full";
      this.#journal?.passedBy(this.#acknowledged, this.losses.unreported);
    }
    this.#next = number + 1;
    if (room) this.#push({ number, json, bytes });
    this.#tend();
    if (!this.#running) void this.#run();
    else if (this.#queue.length >= BATCH_EVENTS) this.#lingering.hurry();
    return undefined;
  }

  #push(event: Queued): void {
    this.#queue.push(event);
    this.#queueBytes += event.bytes + BYTES_BESIDE;
    this.#queueEnd = event.number + 1;
  }

  async #run(): Promise<void> {
    this.#running = true;
    try {
      while (this.pending > 0 && !this.#stopped) {
        if (this.#queue.length < BATCH_EVENTS && !this.#ended && this.#queueEnd === this.#next) {
          await this.#lingering.wait(this.#bounds.lingerMs);
        }
        if (this.#queue.length === 0) await this.#refill();
        const batch = this.#batch();
        if (batch.length > 0 && !(await this.#sending.send(batch, this.#patience, this.#settle))) return;
      }
    } catch (error) {
      this.#sending.warnings.say("stream", `audit events could not be sent: ${wording(error)}`);
      await this.#patience.wait(TEND_MS); // a fault of our own: never in a circle without a pause
    } finally {
      this.#running = false;
      this.#wake();
      if (this.pending > 0 && !this.#stopped) void this.#run();
    }
  }

  #batch(): Queued[] {
    const batch: Queued[] = [];
    let bytes = 0;
    for (const event of this.#queue) {
      bytes += event.bytes;
      if (batch.length >= BATCH_EVENTS || (bytes > BATCH_BYTES && batch.length > 0)) break;
      batch.push(event);
    }
    return batch;
  }

  /** These events are taken, all but the refused; they are the first of the queue. */
  readonly #settle = (events: readonly Numbered[], refused: ReadonlyMap<number, string>): void => {
    const gone = this.#queue.splice(0, events.length);
    for (const event of gone) this.#queueBytes -= event.bytes + BYTES_BESIDE;
    this.#acknowledged = (events[events.length - 1] as Numbered).number + 1;
    this.#giveUp(refused.keys(), "refused");
    for (const number of this.#reports.keys()) if (number < this.#acknowledged) this.#reports.delete(number);
    this.#journal?.mark(this.#acknowledged, this.losses.unreported);
    this.#wake();
  };

  #giveUp(numbers: Iterable<number>, reason: string): void {
    for (const number of numbers) {
      this.#failed += 1;
      if (!this.#reports.has(number)) {
        this.losses.add(reason);
        continue;
      }
      const report = this.#reports.get(number);
      if (report !== undefined) this.losses.giveBack(...report);
      if (reason === "refused") this.#reportAfter = performance.now() + REPORT_AGAIN_MS; // else for ever, each second
    }
  }

  /** What waits on disk alone. What can't be read there is lost, and counted. */
  async #refill(): Promise<void> {
    if (this.#journal === undefined || this.#queueEnd >= this.#next) return;
    const from = this.#queueEnd;
    const below = this.#next;
    let events: Numbered[] = [];
    try {
      events = await this.#journal.read(from, READ_EVENTS, Math.min(READ_BYTES, this.#bounds.bytes));
    } catch (error) {
      this.#sending.warnings.say("reading", `the audit spool can't be read: ${wording(error)}`);
      await this.#patience.wait(TEND_MS);
      if (this.#patience.ended.aborted) return;
      events = await this.#journal.read(from, READ_EVENTS, READ_BYTES).catch(() => []);
    }
    let at = from;
    for (const event of events) {
      if (event.number < at) continue;
      this.#miss(at, event.number);
      this.#push({ ...event, bytes: Buffer.byteLength(event.json) });
      at = event.number + 1;
    }
    if (events.length === 0) {
      this.#miss(from, below);
      this.#queueEnd = below;
      this.#acknowledged = below;
    }
  }

  #miss(from: number, end: number): void {
    const numbers = Array.from({ length: end - from }, (_, index) => from + index);
    this.#giveUp(numbers, "spool damaged");
  }

  /** A round each second while there is something to look after. */
  #tend(): void {
    if (this.#tending !== undefined || this.#stopped) return;
    this.#tending = setInterval(() => {
      try {
        this.#round();
      } catch (error) {
        this.#sending.warnings.say("tending", wording(error));
      }
    }, TEND_MS);
    this.#tending.unref();
  }

  #round(): void {
    const due = this.#acknowledged >= this.#settledWithReport && performance.now() >= this.#reportAfter;
    if (!this.#ended && this.losses.unreported > 0 && due) {
      this.report();
      this.#journal?.mark(this.#acknowledged, this.losses.unreported);
    }
    this.#journal?.tend();
    if (this.#journal === undefined && this.pending === 0 && this.losses.unreported === 0) {
      clearInterval(this.#tending);
      this.#tending = undefined;
    }
  }

  // --- the end of it

  /** Waits until all is acknowledged or refused, or the time is over: how many events are still pending. */
  async flush(timeoutMs: number): Promise<number> {
    const deadline = performance.now() + (timeoutMs > 0 ? timeoutMs : 0);
    while (this.pending > 0 && !this.#stopped) {
      const left = deadline - performance.now();
      if (left <= 0) break;
      this.#lingering.hurry();
      this.#patience.hurry();
      await new Promise<void>((resolve) => {
        const done = (): void => {
          clearTimeout(timer);
          this.#waiters.delete(done);
          resolve();
        };
        const timer = setTimeout(done, Math.min(left, HURRY_MS)); // holds the process
        this.#waiters.add(done);
      });
    }
    return this.pending;
  }

  #wake(): void {
    for (const wake of this.#waiters) wake();
  }

  /** Reports losses, states the next number, waits, and gives up what is then still here, or leaves it in the spool. */
  async close(timeoutMs: number): Promise<void> {
    if (this.#ended) return;
    if (this.#next > 0 || this.losses.unreported > 0) {
      this.report();
      const closed = this.#statement("producer.closed", { next: this.#next + 1 }, this.#next);
      this.#state(closed);
    }
    this.#ended = true;
    await this.flush(timeoutMs);
    this.#stopped = true;
    this.#patience.end();
    this.#lingering.end();
    clearInterval(this.#tending);
    if (this.#journal === undefined) {
      this.#giveUp(Array.from({ length: this.pending }, (_, index) => this.#acknowledged + index), "not delivered at close");
      this.#acknowledged = this.#next;
      this.#queue = [];
      this.#queueBytes = 0;
    } else {
      this.#journal.mark(this.#acknowledged, this.losses.unreported);
      this.#journal.close(this.pending === 0);
    }
    this.#wake();
  }

  stats(): Stats {
    return {
      emitted: this.#next,
      delivered: Math.max(this.#acknowledged - this.#failed, 0),
      pending: this.pending,
      failed: this.#failed,
      statements: this.#statements,
      dropped: this.losses.byReason,
      unreported: this.losses.unreported,
      spoolBytes: this.#journal?.bytes ?? 0,
    };
  }
}
