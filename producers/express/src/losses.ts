/**
 * What became of the events: counted from the moment `log` is called, so that a loss can't hide.
 *
 * The invariant: an event that was dropped is counted exactly once, and a count leaves the unreported only while a
 * report about it is on its way or after it arrived.
 */

/**
 * As of now, for this client.
 *
 * `emitted`: events that were given a number and queued, the client's own `audit.loss` and `producer.closed` among
 * them, which `statements` counts. `emitted == delivered + pending + failed`. `pending`: not yet acknowledged. `failed`:
 * numbered and refused by the collector or given up, so their numbers are missing in the chain. `dropped`: all losses by
 * reason, those that never got a number (`invalid`, `queue full`, `closed`, ...) and those that failed. `unreported`:
 * losses that no `audit.loss` event has stated yet. `spoolBytes`: what this client's files in the spool take.
 */
export interface Stats {
  readonly emitted: number;
  readonly delivered: number;
  readonly pending: number;
  readonly failed: number;
  readonly statements: number;
  readonly dropped: Readonly<Record<string, number>>;
  readonly unreported: number;
  readonly spoolBytes: number;
}

export class Losses {
  readonly #dropped = new Map<string, number>();
  #unreported = new Map<string, number>();

  add(reason: string, count = 1): void {
    this.#dropped.set(reason, (this.#dropped.get(reason) ?? 0) + count);
    this.giveBack(reason, count);
  }

  /** All that is unreported, for reports that will now be made. */
  take(): [string, number][] {
    const taken = [...this.#unreported].sort();
    this.#unreported = new Map();
    return taken;
  }

  /** No report about these arrived. */
  giveBack(reason: string, count: number): void {
    this.#unreported.set(reason, (this.#unreported.get(reason) ?? 0) + count);
  }

  get unreported(): number {
    let sum = 0;
    for (const count of this.#unreported.values()) sum += count;
    return sum;
  }

  get byReason(): Record<string, number> {
    return Object.fromEntries(this.#dropped);
  }
}
