/**
 * What a result is: the rule of every Sealstream integration.
 *
 * A status below 400 is `success`, 401 and 403 are `denied`, everything else, none at all included, is `failure`. What
 * was told can make a success a denial or a failure, never the reverse: nobody talks a failure away. Pure.
 */

import type { Result } from "./event.js";

/** For an HTTP status; undefined: there was no complete response. */
export function resultOfStatus(status: number | undefined): Result {
  if (status === 401 || status === 403) return "denied";
  return status !== undefined && status < 400 ? "success" : "failure";
}

/** The result, unless it is a success that somebody knows to be none. */
export function toldResult(result: Result, told: unknown): Result {
  return told === "denied" || told === "failure" ? told : result;
}

/** An error as an event names it: by its class, for its text may hold anybody's data. */
export function errorName(error: unknown): string {
  if (typeof error === "object" && error !== null) {
    const name = error.constructor?.name || (error as { name?: unknown }).name;
    return typeof name === "string" && name !== "" ? name.slice(0, 128) : "object";
  }
  return typeof error;
}
