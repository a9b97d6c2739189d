/** Event ids: UUIDv7 (RFC 9562 section 5.7), so that ids of one process sort by time. 62 bits of each are random. */

import { randomFillSync } from "node:crypto";

const AT_ONCE = 4096;
const fetched = Buffer.alloc(AT_ONCE);
let used = AT_ONCE;
let lastMs = 0;
let counter = 0;

/** The 12 bits after the milliseconds count within one (RFC 9562 section 6.2, method 1). */
export function newEventId(nowMs: number = Date.now()): string {
  if (used + 8 > AT_ONCE) {
    randomFillSync(fetched);
    used = 0;
  }
  counter = nowMs === lastMs ? (counter + 1) & 0xfff : 0;
  lastMs = nowMs;
  const random = fetched.toString("hex", used, used + 8);
  used += 8;
  const time = nowMs.toString(16).padStart(12, "0");
  const variant = ((Number.parseInt(random.charAt(0), 16) & 3) | 8).toString(16);
  return `${time.slice(0, 8)}-${time.slice(8)}-7${counter.toString(16).padStart(3, "0")}-${variant}${random.slice(1, 4)}-${random.slice(4, 16)}`;
}
