/** Where a request came from, as an event accepts it. Pure. */

import { isIP } from "node:net";

/** The address that a server or proxy wrote, without zone, brackets and port; undefined when it is none. */
export function addressIn(text: unknown): string | undefined {
  if (typeof text !== "string") return undefined;
  let found = text.trim();
  if (found.startsWith("[")) found = found.slice(1).split("]")[0] as string;
  else if (found.split(":").length === 2) found = found.split(":")[0] as string;
  found = found.split("%")[0] as string;
  return isIP(found) === 0 ? undefined : found;
}
