/**
 * The spool of one stream, as its own process writes it: an event is in the kernel's hands before `append` returns.
 *
 * The invariant: a segment goes only when the collector has all of it. The crash story: whatever the process dies of, the
 * events and the mark are there, and the next client on the directory sends them (`adoption.ts`), with the same bytes
 * and ids. A disk that is full, gone or read-only makes `append` false, and harms nothing else. What is written is left
 * to the kernel: synced once a second, in the background.
 */

import * as fs from "node:fs";
import { open } from "node:fs/promises";
import { dirname, join } from "node:path";

import type { Numbered } from "./sending.js";
import { eventIn, markWritten, segmentName, STREAM } from "./spool_files.js";
import { HELD, ownerHere, TOUCH_MS } from "./spool_owner.js";
import { wording } from "./warning.js";
import type { Warnings } from "./warning.js";

const SEGMENT_BYTES = 4 * 1024 * 1024;
const DONE_BYTES = 16_384; // a segment of this size goes when the collector has all of it, though it has room
const TRY_AGAIN_MS = 1_000;
const LOOK_AGAIN_MS = 10_000;

interface Segment {
  readonly path: string;
  readonly first: number;
  end: number;
  bytes: number;
}

export class Journal {
  readonly folder: string;
  readonly #directory: string;
  readonly #service: string;
  readonly #mostBytes: number;
  readonly #warnings: Warnings;
  readonly #segments: Segment[] = [];
  #file: number | undefined;
  #markFile: number | undefined;
  #bytes = 0;
  #brokenUntil = 0;
  #othersBytes = 0;
  #lookedAt = -Infinity;
  #touchedAt = 0;
  #dirty = false;
  #syncing = false;
  #unspooled = false;
  #closed = false;

  constructor(directory: string, producerId: string, service: string, mostBytes: number, warnings: Warnings) {
    this.#directory = directory;
    this.folder = join(directory, producerId);
    this.#service = service;
    this.#mostBytes = mostBytes;
    this.#warnings = warnings;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Whether it is on disk. */
  append(event: Numbered): boolean {
    if (this.#closed || performance.now() < this.#brokenUntil) return false;
    try {
      const data = Buffer.from(`${event.number} ${event.json}\n`);
      const segment = this.#room(event.number, data.length);
      if (segment === undefined) return false;
      const written = fs.writeSync(this.#file as number, data, 0, data.length, segment.bytes);
      if (written < data.length) throw new Error("no space left on the disk");
      segment.bytes += data.length;
      this.#bytes += data.length;
      segment.end = event.number + 1;
      this.#dirty = true;
      return true;
    } catch (error) {
      this.#cutOff();
      this.#broken(error);
      return false;
    }
  }

  /** An event was sent that is not on disk. */
  passedBy(acknowledged: number, unreported: number): void {
    if (this.#unspooled) return;
    this.#unspooled = true;
    this.mark(acknowledged, unreported);
  }

  /** The collector has all numbers below this one. */
  mark(acknowledged: number, unreported: number): void {
    try {
      if (this.#markFile !== undefined) {
        const data = markWritten({ acknowledged, unreported, unspooled: this.#unspooled });
        fs.writeSync(this.#markFile, data, 0, data.length, 0);
      }
    } catch (error) {
      this.#broken(error);
    }
    while (this.#segments.length > 1 && (this.#segments[0] as Segment).end <= acknowledged) this.#forget();
    const last = this.#segments[0];
    if (last !== undefined && last.end <= acknowledged && last.bytes >= DONE_BYTES) this.#forget();
  }

  /** Events from this number on that are on disk, in order; empty: there are none. Rejects with the disk's errors. */
  async read(from: number, mostEvents: number, mostBytes: number): Promise<Numbered[]> {
    const found: Numbered[] = [];
    let size = 0;
    for (const segment of this.#segments.filter((each) => each.end > from)) {
      const { bytes } = segment; // what is whole now
      const file = await open(segment.path, "r");
      try {
        let rest = "";
        const decoder = new TextDecoder();
        for (let at = 0; at < bytes; ) {
          const buffer = Buffer.allocUnsafe(Math.min(262_144, bytes - at));
          const { bytesRead } = await file.read(buffer, 0, buffer.length, at);
          if (bytesRead === 0) throw new Error(`${segment.path} is shorter than it was`);
          at += bytesRead;
          const lines = (rest + decoder.decode(buffer.subarray(0, bytesRead), { stream: true })).split("\n");
          rest = lines.pop() as string;
          for (const line of lines) {
            const event = eventIn(line, false);
            if (event === undefined || event.number < from) continue;
            if (found.length >= mostEvents || size >= mostBytes) return found;
            found.push(event);
            size += event.json.length;
          }
        }
      } finally {
        await file.close();
      }
    }
    return found;
  }

  /** Once a second: to the disk itself, and a sign of life. */
  tend(): void {
    if (this.#markFile === undefined || this.#closed) return;
    const now = performance.now();
    if (now - this.#touchedAt >= TOUCH_MS) {
      this.#touchedAt = now;
      const time = new Date();
      fs.futimes(this.#markFile, time, time, () => undefined);
    }
    if (this.#dirty && !this.#syncing && this.#file !== undefined) {
      this.#dirty = false;
      this.#syncing = true;
      fs.fdatasync(this.#file, () => {
        this.#syncing = false;
      });
    }
    if (now - this.#lookedAt >= LOOK_AGAIN_MS) this.#look(now);
  }

  /** `empty`: the collector has all, so that the folder goes. */
  close(empty: boolean): void {
    if (this.#closed) return;
    this.#closed = true;
    HELD.delete(this.folder);
    try {
      if (this.#file !== undefined) {
        if (!empty) fs.fdatasyncSync(this.#file);
        fs.closeSync(this.#file);
      }
      if (this.#markFile !== undefined) fs.closeSync(this.#markFile);
      if (empty && this.#markFile !== undefined) fs.rmSync(this.folder, { recursive: true, force: true });
    } catch (error) {
      this.#warnings.say("spool", `the audit spool ${this.folder}: ${wording(error)}`);
    }
  }

  /** The segment for so many more bytes; undefined: the bound is reached. */
  #room(number: number, bytes: number): Segment | undefined {
    if (this.#markFile === undefined) this.#create();
    if (this.#bytes + this.#othersBytes + bytes > this.#mostBytes) {
      this.#warnings.say("spool full", `the audit spool ${this.#directory} is full: ${this.#mostBytes} bytes`);
      return undefined;
    }
    const last = this.#segments[this.#segments.length - 1];
    if (last !== undefined && this.#file !== undefined && last.bytes + bytes <= SEGMENT_BYTES) return last;
    const path = join(this.folder, segmentName(number));
    const file = fs.openSync(path, "w", 0o600);
    if (this.#file !== undefined) fs.closeSync(this.#file);
    this.#file = file;
    const segment = { path, first: number, end: number, bytes: 0 };
    this.#segments.push(segment);
    return segment;
  }

  #create(): void {
    makeFolder(this.folder);
    HELD.add(this.folder);
    fs.writeFileSync(join(this.folder, "owner"), JSON.stringify(ownerHere(this.#service)), { mode: 0o600 });
    const file = fs.openSync(join(this.folder, "mark"), "w", 0o600);
    const data = markWritten({ acknowledged: 0, unreported: 0, unspooled: this.#unspooled });
    fs.writeSync(file, data, 0, data.length, 0);
    this.#markFile = file;
    this.#look(performance.now());
  }

  /** What other streams in the directory take: the bound is for all together. */
  #look(now: number): void {
    this.#lookedAt = now;
    void bytesBeside(this.#directory, this.folder).then(
      (bytes) => {
        this.#othersBytes = bytes;
      },
      () => undefined,
    );
  }

  #forget(): void {
    const segment = this.#segments.shift();
    if (segment === undefined) return;
    this.#bytes -= segment.bytes;
    if (this.#segments.length === 0 && this.#file !== undefined) {
      const file = this.#file;
      this.#file = undefined;
      fs.close(file, () => undefined);
    }
    fs.unlink(segment.path, () => undefined);
  }

  /** What was written in part. */
  #cutOff(): void {
    const last = this.#segments[this.#segments.length - 1];
    try {
      if (last !== undefined && this.#file !== undefined) fs.ftruncateSync(this.#file, last.bytes);
    } catch {
      // it is overwritten, or found torn
    }
  }

  #broken(error: unknown): void {
    this.#brokenUntil = performance.now() + TRY_AGAIN_MS;
    this.#warnings.say(
      "spool",
      `the audit spool ${this.folder} can't be written: ${wording(error)}; events wait in memory, within its bounds`,
    );
  }
}

/** Node's own `recursive` never returns where a parent can't be made and says that it is not there (/proc does). */
function makeFolder(path: string): void {
  try {
    fs.mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "EEXIST") return;
    if (code !== "ENOENT" || dirname(path) === path || fs.existsSync(dirname(path))) throw error;
    makeFolder(dirname(path));
    fs.mkdirSync(path, { mode: 0o700 });
  }
}

async function bytesBeside(directory: string, own: string): Promise<number> {
  let sum = 0;
  for (const name of await fs.promises.readdir(directory)) {
    const folder = join(directory, name);
    if (!STREAM.test(name) || folder === own) continue;
    for (const file of await fs.promises.readdir(folder).catch(() => [])) {
      sum += (await fs.promises.stat(join(folder, file)).catch(() => ({ size: 0 }))).size;
    }
  }
  return sum;
}
