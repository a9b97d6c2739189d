/**
 * What dead processes left in the spool goes to the collector, in order, by any client on the same directory.
 *
 * A folder is claimed by renaming it, which one process alone can do. The invariant: it goes only when the collector has
 * all that could be read from it, and what could not be read, or had been lost and not reported, is counted by then. Who
 * dies in the middle leaves the folder to the next; what the collector had already comes twice, with the same bytes and
 * numbers, and is sealed once. Where the owner is surely gone and its last number is known, its `producer.closed` is
 * added, on disk before it is sent.
 */

import { randomBytes } from "node:crypto";
import { appendFile, readdir, readFile, rename, rm, stat, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";

import type { Numbered, Patience, Sending } from "./sending.js";
import { eventIn, linesIn, markIn, markWritten, segmentName, segmentsIn, STREAM } from "./spool_files.js";
import type { Mark } from "./spool_files.js";
import { HELD, ownerHere, ownerIn, stateOf } from "./spool_owner.js";
import { wording } from "./warning.js";
import type { Warnings } from "./warning.js";

const LOOK_AGAIN_MS = 10_000;
const AT_ONCE_EVENTS = 250;
const AT_ONCE_BYTES = 262_144;
const YOUNG_MS = 60_000;

/** Makes the JSON of a stream's `producer.closed` with this number. */
export type Closing = (producerId: string, number: number) => string;

export class Adoption {
  constructor(
    readonly directory: string,
    readonly service: string,
    readonly sending: Sending,
    readonly patience: Patience,
    readonly warnings: Warnings,
    readonly closing: Closing,
    readonly lost: (reason: string, count: number) => void,
  ) {}

  /** Until the patience ends. Never rejects. */
  async run(): Promise<void> {
    while (!this.patience.ended.aborted) {
      try {
        await this.look();
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "ENOENT") {
          this.warnings.say("adoption", `what is left in the audit spool could not be sent yet: ${wording(error)}`);
        }
      }
      await this.patience.wait(LOOK_AGAIN_MS);
    }
  }

  /** One look at the directory: sends all that is left there. */
  async look(): Promise<void> {
    for (const name of (await readdir(this.directory)).sort()) {
      if (this.patience.ended.aborted) return;
      if (!STREAM.test(name)) continue;
      const folder = join(this.directory, name);
      const claimed = HELD.has(folder) ? undefined : await this.#claim(folder, name).catch(() => undefined);
      if (claimed === undefined) continue;
      HELD.add(claimed.folder);
      try {
        await this.#send(claimed.folder, name.slice(0, 36), claimed.gone);
      } finally {
        HELD.delete(claimed.folder);
      }
    }
  }

  async #claim(folder: string, name: string): Promise<{ folder: string; gone: boolean } | undefined> {
    const here = ownerHere(this.service);
    const touched = await stat(join(folder, "mark")).catch(() => stat(folder));
    const touchedMs = Date.now() - touched.mtimeMs;
    const owner = ownerIn(await readFile(join(folder, "owner"), "utf8").catch(() => ""));
    const state = owner === undefined ? (touchedMs > YOUNG_MS ? "silent" : "alive") : stateOf(owner, here, folder, touchedMs);
    if (state === "alive") return undefined;
    if (owner !== undefined && owner.service !== this.service) {
      this.warnings.say(
        `service ${folder}`,
        `the audit spool ${folder} is of service '${owner.service}', not '${this.service}': it is left alone`,
      );
      return undefined;
    }
    const claimed = join(this.directory, `${name.slice(0, 36)}~${randomBytes(4).toString("hex")}`);
    HELD.add(claimed); // before anybody of this process can see it
    try {
      await rename(folder, claimed);
      await writeFile(join(claimed, "owner"), JSON.stringify(here), { mode: 0o600 });
      const now = new Date();
      await utimes(join(claimed, "mark"), now, now).catch(() => undefined);
    } catch (error) {
      HELD.delete(claimed);
      throw error;
    }
    return { folder: claimed, gone: state === "gone" };
  }

  async #send(folder: string, producerId: string, gone: boolean): Promise<void> {
    const markPath = join(folder, "mark");
    const mark = markIn(await readFile(markPath, "utf8").catch(() => ""));
    const survey = await surveyed(folder, mark);
    if (gone && survey.damaged === 0 && !mark.unspooled && survey.next > 0 && !survey.closed) {
      const { next } = survey;
      const path = (await segmentsIn(folder)).pop()?.path ?? join(folder, segmentName(next));
      await appendFile(path, `\n${next} ${this.closing(producerId, next)}\n`, { mode: 0o600 });
    }
    let acknowledged = mark.acknowledged;
    let refused = 0;
    const note = (): Promise<void> =>
      writeFile(markPath, markWritten({ ...mark, acknowledged, unreported: mark.unreported + refused }));
    for await (const batch of batches(folder, acknowledged)) {
      const sent = await this.sending.send(batch, this.patience, (events, why) => {
        acknowledged = (events[events.length - 1] as Numbered).number + 1;
        refused += why.size;
      });
      await note();
      if (!sent) return;
    }
    if (survey.damaged > 0) this.lost("spool damaged", survey.damaged);
    if (mark.unreported > 0) this.lost("not reported before the process died", mark.unreported);
    if (refused > 0) this.lost("refused", refused);
    await rm(folder, { recursive: true, force: true });
  }
}

interface Survey {
  /** The number after the last. */
  readonly next: number;
  readonly damaged: number;
  readonly closed: boolean;
}

async function surveyed(folder: string, mark: Mark): Promise<Survey> {
  let next = 0;
  let damaged = 0;
  let last = "";
  for (const segment of await segmentsIn(folder)) {
    for await (const line of linesIn(segment.path)) {
      const event = eventIn(line, true);
      if (line === "") continue;
      if (event === undefined) damaged += 1;
      else if (event.number >= next) {
        next = event.number + 1;
        last = event.json;
      }
    }
  }
  const closed = last !== "" && (JSON.parse(last) as { action?: unknown }).action === "producer.closed";
  return { next: Math.max(next, mark.acknowledged), damaged, closed };
}

async function* batches(folder: string, from: number): AsyncGenerator<Numbered[]> {
  let batch: Numbered[] = [];
  let size = 0;
  for (const segment of await segmentsIn(folder)) {
    for await (const line of linesIn(segment.path)) {
      const event = eventIn(line, true);
      if (event === undefined || event.number < from) continue;
      batch.push(event);
      size += event.json.length;
      if (batch.length >= AT_ONCE_EVENTS || size >= AT_ONCE_BYTES) {
        yield batch;
        batch = [];
        size = 0;
      }
    }
  }
  if (batch.length > 0) yield batch;
}
