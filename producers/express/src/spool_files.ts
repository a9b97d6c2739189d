/**
 * The files of a spool: one folder for each stream of events, and how they are read.
 *
 * `<directory>/<producer_id>/` holds `owner` (who writes), `mark` (how far the collector has the stream, and which
 * losses nobody has reported) and segments `<first number, 16 digits>.ndjson`: lines of an event's number, a space and
 * the exact JSON that is sent. A line is whole when its newline is there.
 */

import { createReadStream } from "node:fs";
import { readdir } from "node:fs/promises";
import { join } from "node:path";

import type { Numbered } from "./sending.js";

export const SEGMENT = /^(\d{16})\.ndjson$/;
export const STREAM = /^[0-9a-f-]{36}(?:~[0-9a-f]{8})?$/;
export const MARK_BYTES = 512;

export interface Mark {
  /** The first number that the collector may not have. */
  readonly acknowledged: number;
  readonly unreported: number;
  /** Whether events were sent that never were on disk: then nobody can know the last number. */
  readonly unspooled: boolean;
}

export const NO_MARK: Mark = { acknowledged: 0, unreported: 0, unspooled: false };

/** Always of the same length, so that it is overwritten in one write. */
export function markWritten(mark: Mark): Buffer {
  return Buffer.from(JSON.stringify(mark).padEnd(MARK_BYTES - 1) + "\n");
}

export function markIn(written: string): Mark {
  try {
    const mark = JSON.parse(written) as Mark;
    return Number.isInteger(mark.acknowledged) && Number.isInteger(mark.unreported) ? mark : NO_MARK;
  } catch {
    return NO_MARK;
  }
}

export function segmentName(first: number): string {
  return `${String(first).padStart(16, "0")}.ndjson`;
}

/** Paths of a stream's segments, in order, with their first numbers. */
export async function segmentsIn(folder: string): Promise<{ path: string; first: number }[]> {
  const found: { path: string; first: number }[] = [];
  for (const name of (await readdir(folder)).sort()) {
    const match = SEGMENT.exec(name);
    if (match) found.push({ path: join(folder, name), first: Number(match[1]) });
  }
  return found;
}

/** One line: the event, or undefined for what is none. `parse`: also look whether it is JSON. */
export function eventIn(line: string, parse: boolean): Numbered | undefined {
  const space = line.indexOf(" ");
  const number = Number(line.slice(0, space));
  if (space < 1 || !Number.isSafeInteger(number) || number < 0) return undefined;
  const json = line.slice(space + 1);
  if (parse) {
    try {
      if ((JSON.parse(json) as { producer_seq?: unknown } | null)?.producer_seq !== number) return undefined;
    } catch {
      return undefined;
    }
  }
  return { number, json };
}

/**
 * Whole and torn lines of a file, one after the other. Rejects with the file system's errors. Not by `node:readline`, for
 * which U+2028 and U+2029 end a line from Node 24 on: JSON has them as they are.
 */
export async function* linesIn(path: string): AsyncGenerator<string> {
  let rest = "";
  for await (const chunk of createReadStream(path, "utf8") as AsyncIterable<string>) {
    const lines = (rest + chunk).split("\n");
    rest = lines.pop() as string;
    yield* lines;
  }
  if (rest !== "") yield rest;
}
