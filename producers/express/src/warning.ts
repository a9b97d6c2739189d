/** Into the application's log; a logger that fails must not harm who warns. */

const SAY_AGAIN_MS = 3_600_000;
const MOST_PLACES = 256;

export type Logger = (message: string) => unknown;

export class Warnings {
  readonly #log: Logger;
  readonly #said = new Map<string, number>();

  constructor(log: Logger | undefined) {
    this.#log = log ?? ((message) => console.warn(`sealstream: ${message}`));
  }

  /** Once an hour for each place. */
  say(place: string, message: string): void {
    try {
      const now = performance.now();
      const before = this.#said.get(place);
      if (before !== undefined && now - before < SAY_AGAIN_MS) return;
      if (before === undefined && this.#said.size >= MOST_PLACES) return;
      this.#said.set(place, now);
      const given = this.#log(message);
      if (given instanceof Promise) given.catch(() => undefined);
    } catch {
      // the application's own logger
    }
  }
}

/** What an error says of itself, for a log. */
export function wording(error: unknown): string {
  try {
    const { code, message } = error as { code?: unknown; message?: unknown };
    return typeof message === "string" && message !== "" ? message : String(code ?? error);
  } catch {
    return "an error that can't be read";
  }
}
