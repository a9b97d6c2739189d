/**
 * Whose a folder of the spool is, and whether that process still lives.
 *
 * A process is known by its pid, the time it began, its machine's boot and its pid namespace, so that neither a pid that
 * was used again nor another container's is taken for it. Where Linux does not tell these, the pid alone counts. A
 * process of another boot or namespace can't be looked at: it counts as alive while it touches its mark.
 */

import { readFileSync, readlinkSync } from "node:fs";
import { threadId } from "node:worker_threads";

export const TOUCH_MS = 5_000;
const SILENT_MS = 120_000;

export interface Owner {
  readonly pid: number;
  readonly thread: number;
  /** "" where it can't be told. */
  readonly began: string;
  readonly boot: string;
  readonly namespace: string;
  /** What reports, so that nobody sends another application's events with its own key. */
  readonly service: string;
}

/** Folders that clients of this process write to, whichever copy of this package they are of. */
export const HELD: Set<string> = ((globalThis as Record<symbol, unknown>)[Symbol.for("sealstream-express.held")] ??=
  new Set<string>()) as Set<string>;

export function ownerHere(service: string): Owner {
  const told = {
    boot: text(() => readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim()),
    namespace: text(() => readlinkSync("/proc/self/ns/pid")),
  };
  return { pid: process.pid, thread: threadId, began: beganAt("self"), ...told, service };
}

/** undefined: it is no owner's word. */
export function ownerIn(written: string): Owner | undefined {
  try {
    const owner = JSON.parse(written) as Owner;
    const texts = [owner.began, owner.boot, owner.namespace, owner.service];
    return Number.isInteger(owner.pid) && texts.every((each) => typeof each === "string") ? owner : undefined;
  } catch {
    return undefined;
  }
}

/** `gone`: surely; `silent`: it can't be looked at, and has not touched its mark for long. */
export function stateOf(owner: Owner, here: Owner, folder: string, touchedMs: number): "alive" | "gone" | "silent" {
  if (owner.boot !== here.boot || owner.namespace !== here.namespace) return touchedMs > SILENT_MS ? "silent" : "alive";
  if (owner.pid === here.pid && owner.began === here.began) {
    return owner.thread === here.thread && !HELD.has(folder) ? "gone" : "alive";
  }
  if (here.began !== "") return beganAt(String(owner.pid)) === owner.began ? "alive" : "gone";
  try {
    process.kill(owner.pid, 0);
    return "alive";
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM" ? "alive" : "gone";
  }
}

/** In the kernel's ticks since the boot; "" for no such process. */
function beganAt(pid: string): string {
  return text(() => {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19] ?? "";
  });
}

function text(read: () => string): string {
  try {
    return read();
  } catch {
    return "";
  }
}
