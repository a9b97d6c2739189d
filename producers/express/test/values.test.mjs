import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { after, before, beforeEach, test } from "node:test";

import { Redaction } from "sealstream-express";

import { clientOf, event, RecordingCollector, without } from "./support.mjs";

let collector;
before(async () => {
  collector = await new RecordingCollector().listen();
});
beforeEach(() => {
  collector.events = [];
});
after(() => collector.close());

async function sent(more, settings) {
  const audit = clientOf(collector, settings);
  audit.log(event(1, more));
  await audit.close();
  assert.deepEqual(audit.stats().dropped, {});
  return without(collector.events)[0];
}

test("the types are those of the repository's schema", { skip: !existsSync(new URL("../../../schemas", import.meta.url)) && "only in the repository" }, () => {
  const script = fileURLToPath(new URL("../scripts/make-event-types.mjs", import.meta.url));
  const { status, stderr } = spawnSync(process.execPath, [script, "--check"], { encoding: "utf8" });
  assert.equal(status, 0, stderr);
});

test("JavaScript's values become JSON's", async () => {
  class Money {
    constructor(cents) {
      this.cents = cents;
    }
  }
  const { metadata } = await sent({
    metadata: {
      date: new Date(0), big: 2n ** 60n, small: 7n, map: new Map([["a", 1], [2, "b"]]), set: new Set(["x"]),
      money: new Money(5), url: new URL("https://example.com/x"), error: new TypeError("of a patient"), nothing: undefined,
      none: null, nan: Number.NaN, huge: 1e300, text: "a\u0000b\ud800", "n\u0000": 1, ["__proto__"]: 2, boxed: Object("s"),
      list: [1, undefined, null],
    },
  });
  assert.deepEqual(metadata, {
    date: "1970-01-01T00:00:00.000Z", big: "1152921504606846976", small: 7, map: { a: 1, 2: "b" }, set: ["x"],
    money: { cents: 5 }, url: "https://example.com/x", error: "TypeError", none: null, nan: "NaN", huge: "1e+300",
    text: "a\ufffdb\ufffd", "n\ufffd": 1, ["__proto__"]: 2, boxed: "s", list: [1, null, null],
  });
});

test("what a stranger may send makes no event unacceptable", async () => {
  const circle = { name: "x" };
  circle.itself = circle;
  const wide = { a: circle, b: circle, c: [circle, circle] };
  const deep = await sent({ metadata: { wide }, actor_id: "a".repeat(600), ip_address: "nowhere", user_agent: "\u0000" });
  assert.equal(Buffer.byteLength(deep.actor_id), 512);
  assert.match(deep.actor_id, /~[0-9a-f]{16}$/);
  assert.equal(deep.ip_address, undefined);
  assert.equal(deep.metadata.ip_address, "nowhere");
  assert.equal(deep.user_agent, "\ufffd");
});

test("an event that is too large is made lean; what is left out is known by its digest", async () => {
  const begun = performance.now();
  const large = await sent({
    old_values: { text: "\u00e4".repeat(60_000) },
    new_values: { list: Array.from({ length: 1_000_000 }, (_, n) => n) },
    metadata: { kept: 1 },
    reason: "r".repeat(50_000_000),
    changed_fields: Array.from({ length: 3_000 }, (_, n) => `field-${n}`),
  });
  assert.ok(performance.now() - begun < 15_000);
  assert.deepEqual(large.metadata, { kept: 1 });
  assert.match(large.old_values.sha256, /^[0-9a-f]{64}$/);
  assert.ok(large.old_values.left_out_bytes > 60_000);
  assert.ok(large.reason.length < 1_100);
  assert.deepEqual(large.changed_fields, ["(3000 left out)"]);
  assert.ok(Buffer.byteLength(JSON.stringify(large)) < 60_416);
});

test("secrets don't leave the process", async () => {
  const given = {
    reason: "login with password=hunter2 and card 4111 1111 1111 1111",
    metadata: { userPassword: "x", deep: [{ "X-Api-Key": "k" }], password_changed: true, number: 4111111111111111, id: 7 },
    new_values: { note: "Bearer abcdefgh12345678", url: "postgres://u:pw@db/x" },
  };
  const before = structuredClone(given);
  const seen = await sent(given);
  assert.equal(seen.reason, "login with password=[redacted] and card [redacted]");
  assert.deepEqual(seen.metadata, {
    userPassword: "[redacted]", deep: [{ "X-Api-Key": "[redacted]" }], password_changed: true, number: "[redacted]", id: 7,
  });
  assert.deepEqual(seen.new_values, { note: "Bearer [redacted]", url: "postgres://u:[redacted]@db/x" });
  assert.deepEqual(given, before, "what was given is not changed");
});

test("an application adds names, paths and patterns, and keeps names", async () => {
  const redaction = { names: ["iban"], keep: ["max_tokens"], paths: ["new_values.address.*", "user_agent"], patterns: [/MRN-\d+/i, "x(?<secret>\\d)"] };
  const given = {
    metadata: { customerIban: "DE", max_tokens: 5, note: "mrn-77 x1" },
    new_values: { address: { street: "s", city: null } },
    user_agent: "curl",
  };
  const seen = await sent(given, { redaction });
  assert.deepEqual(seen.metadata, { customerIban: "[redacted]", max_tokens: 5, note: "[redacted] x[redacted]" });
  assert.deepEqual(seen.new_values, { address: { street: "[redacted]", city: null } });
  assert.equal(seen.user_agent, "[redacted]");
  collector.events = [];
  assert.deepEqual((await sent({ metadata: { password: "x" } }, { redaction: Redaction.none() })).metadata, { password: "x" });
});

test("a trace of OpenTelemetry's is picked up", async () => {
  const { trace, context, ROOT_CONTEXT } = await import("@opentelemetry/api");
  const traceId = "0af7651916cd43dd8448eb211c80319c";
  const span = trace.setSpan(ROOT_CONTEXT, trace.wrapSpanContext({ traceId, spanId: "b7ad6b7169203331", traceFlags: 1 }));
  context.setGlobalContextManager({ active: () => span, with: (_c, f) => f(), bind: (_c, f) => f, enable() { return this; }, disable() { return this; } });
  assert.equal((await sent({})).trace_id, traceId);
  context.disable();
});
