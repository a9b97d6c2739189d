import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { after, before, beforeEach, test } from "node:test";

import { AuditClient, Misconfigured } from "sealstream-express";

import {
  clientOf, event, hanging, hangingUp, isUuid7, json, RecordingCollector, refusing, status, taken, until, without,
} from "./support.mjs";

let collector;
before(async () => {
  collector = await new RecordingCollector().listen();
});
beforeEach(() => {
  collector.events = [];
  collector.requests = [];
  collector.answers = [];
  collector.always = taken;
});
after(() => collector.close());

test("an event arrives with an id, numbered, and the stream is closed", async () => {
  const audit = clientOf(collector);
  const id = audit.log(event(7, { reason: "month's end" }));
  const stats = await audit.close();
  const [first, closed] = collector.events;
  assert.ok(isUuid7(id) && isUuid7(first.producer_id));
  assert.equal(first.id, id);
  assert.match(first.timestamp, /^\d{4}-\d\d-\d\dT[\d:.]+Z$/);
  const { host, ...source } = first.source;
  assert.ok(host);
  assert.deepEqual(source, { service: "shop" });
  assert.deepEqual(
    [first.actor_id, first.actor_type, first.resource_id, first.result, first.reason, first.producer_seq],
    ["anonymous", "anonymous", "7", "success", "month's end", 0],
  );
  assert.deepEqual([closed.action, closed.metadata, closed.producer_seq], ["producer.closed", { next: 2 }, 1]);
  assert.deepEqual([stats.emitted, stats.delivered, stats.pending, stats.failed], [2, 2, 0, 0]);
  assert.equal(collector.requests[0].headers.authorization, "Bearer slk_0123456789ab_secret");
});

test("many events go in few requests, in order, each once", async () => {
  const audit = clientOf(collector);
  for (let n = 0; n < 5_000; n += 1) audit.log(event(n));
  assert.equal(await audit.flush(), 0);
  assert.deepEqual(collector.events.map((each) => each.producer_seq), Array.from({ length: 5_000 }, (_, n) => n));
  assert.ok(collector.requests.length <= 12, `${collector.requests.length} requests`);
  assert.equal(collector.requests[1].headers["content-encoding"], "gzip");
  await audit.close();
});

test("what the collector refuses is counted, and said in the log; the rest is taken", async () => {
  collector.answers = [refusing(2)];
  const audit = clientOf(collector);
  for (let n = 0; n < 3; n += 1) audit.log(event(n));
  await audit.flush();
  assert.deepEqual(collector.events.map((each) => each.resource_id), ["0", "2"]);
  await until(() => collector.events.some((each) => each.action === "audit.loss"));
  const loss = collector.events.find((each) => each.action === "audit.loss");
  assert.deepEqual(loss.metadata, { reason: "refused", count: 1 });
  assert.deepEqual([loss.result, loss.actor_type], ["failure", "service"]);
  const stats = await audit.close();
  assert.deepEqual([stats.failed, stats.dropped, stats.unreported], [1, { refused: 1 }, 0]);
  assert.equal(audit.said.filter((each) => each.includes("result is none of its values")).length, 1);
});

test("a batch of which nothing is taken does not stop what comes after", async () => {
  collector.answers = [refusing(1)];
  const audit = clientOf(collector);
  audit.log(event(1));
  await audit.flush();
  audit.log(event(2));
  await audit.flush();
  assert.deepEqual(without(collector.events).map((each) => each.resource_id), ["2"]);
  await audit.close();
});

for (const [name, answer] of Object.entries({
  "a 503": status(503),
  "a 429": status(429),
  "a 500": status(500),
  "a revoked key": status(401),
  "a redirect": status(307, { location: "http://127.0.0.1:9/v1/events" }),
  "an answer that broke off": hangingUp,
  "an answer of another server": ({ response }) => response.end("<html>welcome</html>"),
  "an answer about other events": ({ response }) => json(response, 202, { accepted: 99, refused: 0, refusals: [] }),
  "a proxy's 400": ({ response }) => response.writeHead(400, { "content-type": "text/html" }).end("bad"),
})) {
  test(`${name} is waited out: the same events come again, with their ids`, async () => {
    collector.answers = [answer, answer];
    const audit = clientOf(collector);
    const ids = [audit.log(event(1)), audit.log(event(2))];
    assert.equal(await audit.flush(), 0);
    assert.equal(collector.requests.length, 3);
    assert.deepEqual(collector.requests[0].events, collector.requests[2].events);
    assert.deepEqual(collector.events.map((each) => each.id), ids);
    assert.deepEqual(audit.stats().dropped, {});
    await audit.close();
  });
}

test("a key that may not claim what statements are made as: they are not sent for ever", async () => {
  const strict = (context) => {
    const places = context.events.flatMap((each, index) => (each.actor_type === "service" || each.resource_id === "bad" ? [index + 1] : []));
    (places.length > 0 ? refusing(...places) : taken)(context);
  };
  collector.always = strict;
  const audit = clientOf(collector);
  audit.log(event("bad"));
  await until(() => collector.requests.length === 2);
  await new Promise((resolve) => setTimeout(resolve, 2_500));
  assert.equal(collector.requests.length, 2);
  assert.deepEqual([audit.stats().dropped, audit.stats().unreported], [{ refused: 1 }, 1]);
  await audit.close();
});

test("a connection that the collector has closed meanwhile is no fault", async () => {
  const audit = clientOf(collector);
  audit.log(event(1));
  await audit.flush();
  collector.answers = [hangingUp];
  audit.log(event(2));
  await audit.flush();
  assert.deepEqual([collector.events.length, audit.said], [2, []]);
  await audit.close();
});

test("Retry-After is kept, whoever is in a hurry", async () => {
  collector.answers = [status(503, { "retry-after": "1" })];
  const audit = clientOf(collector);
  audit.log(event(1));
  assert.equal(await audit.flush(), 0);
  const [first, second] = collector.requests;
  assert.ok(second.at - first.at >= 990, `${second.at - first.at} ms`);
  await audit.close();
});

test("a batch that is too large goes in halves, in order; one bad event does not take the others along", async () => {
  collector.always = (context) => {
    const bad = context.events.some((each) => each.resource_id === "5");
    (context.events.length > 2 || bad ? status(413) : taken)(context);
  };
  const audit = clientOf(collector);
  for (let n = 0; n < 9; n += 1) audit.log(event(n));
  await audit.flush();
  assert.deepEqual(without(collector.events).map((each) => each.resource_id), ["0", "1", "2", "3", "4", "6", "7", "8"]);
  assert.deepEqual(audit.stats().dropped, { refused: 1 });
  await audit.close();
});

test("a collector that hangs holds nobody up, and its events come again", async () => {
  collector.answers = [hanging, hanging];
  const audit = clientOf(collector, { requestTimeoutMs: 150 });
  const begun = performance.now();
  const id = audit.log(event(1));
  assert.ok(performance.now() - begun < 500);
  assert.equal(await audit.flush(100), 1);
  assert.equal(await audit.flush(), 0);
  assert.deepEqual(collector.events.map((each) => each.id), [id]);
  await audit.close();
});

test("memory is bounded in events and in bytes; what is dropped is counted and reported", async () => {
  for (const bounds of [{ maxPendingEvents: 100 }, { maxPendingBytes: 65_536 }]) {
    const away = await new RecordingCollector().listen();
    await away.close();
    const audit = clientOf(away, bounds);
    let kept = 0;
    for (let n = 0; n < 1_000; n += 1) if (audit.log(event(n)) !== null) kept += 1;
    assert.ok(kept >= 80 && kept <= 150, `${kept}`);
    assert.deepEqual(audit.stats().dropped, { "queue full": 1_000 - kept });
    const back = await new RecordingCollector().listen(away.port);
    const stats = await audit.close();
    const loss = back.events.filter((each) => each.action === "audit.loss");
    assert.deepEqual(loss.map((each) => each.metadata), [{ reason: "queue full", count: 1_000 - kept }]);
    assert.equal(without(back.events).length, kept);
    assert.deepEqual([stats.pending, stats.failed, stats.unreported], [0, 0, 0]);
    await back.close();
  }
});

test("a close that has no time gives up, says so, and ends", async () => {
  collector.answers = [hanging, hanging];
  const audit = clientOf(collector);
  audit.log(event(1));
  const begun = performance.now();
  const stats = await audit.close(200);
  assert.ok(performance.now() - begun < 5_000);
  assert.deepEqual([stats.pending, stats.failed, stats.dropped], [0, 2, { "not delivered at close": 1 }]);
  assert.equal(audit.log(event(2)), null);
  assert.equal((await audit.close()).dropped.closed, undefined, "the second close is the first one's");
  assert.equal(audit.stats().dropped.closed, 1);
});

test("log never throws, whatever it is given, and counts it", async () => {
  const audit = clientOf(collector);
  const strange = [
    undefined, null, 7, "text", [], {}, () => 1,
    event(1, { result: "fine" }), event(1, { actor_type: "robot" }), event(1, { timestamp: "2026-11-24T03:00:00" }),
    event(1, { timestamp: new Date(Number.NaN) }), event(1, { id: "7" }), event(1, { changed_fields: "all" }),
    event(1, { metadata: { data: Buffer.from("x") } }), event(1, { metadata: { f() {} } }), event(1, { metadata: [1] }),
    event(1, { colour: "red" }), event(1, { signature: { key: "k", value: "v" } }), event(""), event(null), event(1.5), event(1, { producer_seq: "x", nobody: 1 }),
    event(1, { metadata: { get bad() { throw new Error("no"); } } }),
    event(1, { metadata: new Proxy({}, { ownKeys() { throw new Error("no"); } }) }),
  ];
  for (const [index, each] of strange.entries()) assert.equal(audit.log(each), null, `number ${index}`);
  const { dropped } = audit.stats();
  assert.equal(dropped.invalid + dropped.unreadable, strange.length);
  const stats = await audit.close();
  assert.equal(stats.unreported, 0);
  assert.equal(without(collector.events).length, 0);
});

test("a logger that throws harms nobody", async () => {
  const audit = clientOf(collector, { logger: () => { throw new Error("full"); } });
  assert.equal(audit.log({}), null);
  const rejecting = clientOf(collector, { logger: () => Promise.reject(new Error("full")) });
  assert.equal(rejecting.log({}), null);
  await Promise.all([audit.close(), rejecting.close()]);
});

test("settings that can't be are said at once", () => {
  const good = { url: "https://collector.example.com", key: "slk_x" };
  for (const [wrong, words] of [
    [{ url: "collector" }, /url 'collector'/], [{ url: "ftp://x" }, /http or https/], [{ key: undefined }, /key is missing/],
    [{ key: "a b" }, /key is none/], [{ url: "http://u:p@x" }, /no user, password/], [{ maxPendingBytes: 1 }, /maxPendingBytes is 1/],
    [{ colour: 1 }, /no setting colour/], [{ spool: "" }, /spool: expected a directory/], [{ lingerMs: "soon" }, /lingerMs is soon/],
    [{ source: { team: "x" } }, /source.team/], [{ redaction: { paths: ["actor_id.x"] } }, /path 'actor_id.x'/],
    [{ redaction: { patterns: ["("] } }, /regular expression/], [{ url: "http://x", tls: { ca: "" } }, /https url/],
  ]) {
    assert.throws(() => new AuditClient({ ...good, ...wrong }), (error) => error instanceof Misconfigured && words.test(error.message));
  }
});

test("fromEnv reads the environment", async () => {
  const environment = {
    SEALSTREAM_COLLECTOR_URL: collector.url, SEALSTREAM_COLLECTOR_KEY: "slk_env", OTEL_SERVICE_NAME: "otel",
    SEALSTREAM_CLIENT_VERSION: "1.2", SEALSTREAM_BOOTSTRAP: "kafka:9092",
  };
  const audit = AuditClient.fromEnv({ lingerMs: 1 }, environment);
  audit.log(event(1));
  await audit.close();
  assert.deepEqual([collector.events[0].source.service, collector.events[0].source.version], ["otel", "1.2"]);
  assert.equal(collector.requests[0].headers.authorization, "Bearer slk_env");
  assert.throws(() => AuditClient.fromEnv({}, { SEALSTREAM_COLLECTOR_KEY_FILE: "/nowhere" }), /SEALSTREAM_COLLECTOR_KEY_FILE/);
});

/** A process that logs one event and ends by itself: its exit code, and how long its end took, in ms. */
async function ending(settings) {
  const program = `
    const { AuditClient } = require("sealstream-express");
    const audit = new AuditClient({ key: "slk_x", logger() {}, ...${JSON.stringify(settings)} });
    audit.log({ action: "job.done", resource_type: "job", resource_id: 1 });
    const begun = performance.now();
    process.on("exit", () => console.log(performance.now() - begun));`;
  const cwd = fileURLToPath(new URL(".", import.meta.url));
  const child = spawn(process.execPath, ["-e", program], { cwd, stdio: ["ignore", "pipe", "inherit"] });
  let said = "";
  child.stdout.on("data", (chunk) => {
    said += chunk;
  });
  const [code] = await once(child, "close");
  return { code, ms: Number(said) };
}

test("a process that has nothing left to do sends what waits, and then ends", async () => {
  const { code, ms } = await ending({ url: collector.url, lingerMs: 60_000 });
  assert.equal(code, 0);
  assert.ok(ms < 5_000, `${ms}`);
  assert.deepEqual(collector.events.map((each) => each.action), ["job.done", "producer.closed"]);
});

test("a collector that is away does not keep a process alive for longer than exitTimeoutMs", async () => {
  const { code, ms } = await ending({ url: "http://127.0.0.1:9", exitTimeoutMs: 300 });
  assert.equal(code, 0);
  assert.ok(ms < 2_500, `${ms}`);
});
