import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { after, before, beforeEach, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { clientOf, emptyFolder, event, hanging, RecordingCollector, status, taken, until, without } from "./support.mjs";

const HERE = fileURLToPath(new URL(".", import.meta.url));
let collector;
let directory;
before(async () => {
  collector = await new RecordingCollector().listen();
});
beforeEach(() => {
  collector.events = [];
  collector.requests = [];
  collector.always = taken;
  directory = emptyFolder();
});
after(() => collector.close());

const streams = () => fs.readdirSync(directory);

/** A process that logs `count` events into the spool, says their ids and waits to be killed. */
async function logging(count, { url = "http://127.0.0.1:9", service = "shop" } = {}) {
  const program = `
    const { AuditClient } = require("sealstream-express");
    const audit = new AuditClient({ url: "${url}", key: "slk_x", source: { service: "${service}" }, spool: ${JSON.stringify(directory)}, logger() {} });
    const ids = Array.from({ length: ${count} }, (_, n) => audit.log({ action: "read", resource_type: "invoice", resource_id: n }));
    process.stdout.write(JSON.stringify(ids) + "\\n");
    setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ["-e", program], { cwd: HERE, stdio: ["ignore", "pipe", "inherit"] });
  let said = "";
  for await (const chunk of child.stdout) {
    said += chunk;
    if (said.endsWith("\n")) break;
  }
  return { child, ids: JSON.parse(said) };
}

async function killed(child) {
  child.kill("SIGKILL");
  await once(child, "exit");
}

test("what is delivered leaves nothing behind", async () => {
  const audit = clientOf(collector, { spool: directory });
  for (let n = 0; n < 100; n += 1) audit.log(event(n));
  assert.ok(audit.stats().spoolBytes > 0);
  const [stream] = streams();
  assert.equal(fs.statSync(join(directory, stream)).mode & 0o777, 0o700);
  for (const name of fs.readdirSync(join(directory, stream))) {
    assert.equal(fs.statSync(join(directory, stream, name)).mode & 0o777, 0o600);
  }
  const stats = await audit.close();
  assert.deepEqual([stats.delivered, stats.pending], [101, 0]);
  assert.deepEqual(streams(), []);
});

test("a process that is killed loses nothing: the next one sends its events, with their ids and numbers, and closes it", async () => {
  const { child, ids } = await logging(1_000);
  await killed(child);
  const audit = clientOf(collector, { spool: directory });
  await until(() => collector.events.some((each) => each.action === "producer.closed"));
  assert.deepEqual(without(collector.events).map((each) => each.id), ids);
  assert.deepEqual(collector.events.map((each) => each.producer_seq), Array.from({ length: 1_001 }, (_, n) => n));
  assert.deepEqual(collector.events[1_000].metadata, { next: 1_001 });
  assert.equal(new Set(collector.events.map((each) => each.producer_id)).size, 1);
  await until(() => streams().length === 0);
  await audit.close();
});

test("what some call the end of a line is text in the spool, too", async () => {
  const reason = "one\u2028two\u2029three\u0085four\u000bfive\rsix\nseven";
  const before = clientOf({ url: "http://127.0.0.1:9" }, { spool: directory });
  assert.notEqual(before.log({ ...event(1), reason }), null);
  await before.close(0);
  const audit = clientOf(collector, { spool: directory });
  await until(() => collector.events.length >= 2);
  await until(() => streams().length === 0);
  assert.deepEqual(collector.events.map((each) => each.reason ?? each.action), [reason, "producer.closed"]);
  await audit.close();
});

test("a process that is killed while it sends: what the collector has is not lost, what it has not comes", async () => {
  let asked = 0;
  collector.always = (context) => {
    asked += 1;
    if (asked === 1) {
      collector.events.push(...context.events); // written, and the answer is lost
      return hanging(context);
    }
    return taken(context);
  };
  const { child, ids } = await logging(50, { url: collector.url });
  await until(() => asked === 1);
  await killed(child);
  const audit = clientOf(collector, { spool: directory });
  await until(() => streams().length === 0);
  assert.deepEqual([...new Set(without(collector.events).map((each) => each.id))], ids);
  const twice = collector.events.filter((each) => each.producer_seq === 0);
  assert.equal(twice.length, 2);
  assert.deepEqual(twice[0], twice[1]);
  await audit.close();
});

test("who lives is left alone; another service's events, too", async () => {
  const living = await logging(3);
  const other = await logging(3, { service: "another" });
  await killed(other.child);
  const audit = clientOf(collector, { spool: directory });
  await sleep(500);
  assert.deepEqual(collector.events, []);
  assert.ok(audit.said.some((each) => each.includes("is of service 'another'")));
  await audit.close();
  await killed(living.child);
  const next = clientOf(collector, { spool: directory });
  await until(() => collector.events.length === 4);
  assert.deepEqual(without(collector.events).map((each) => each.id), living.ids);
  await next.close();
});

test("several who start at once send what is left once", async () => {
  const { child, ids } = await logging(2_000);
  await killed(child);
  const clients = Array.from({ length: 4 }, () => clientOf(collector, { spool: directory }));
  await until(() => streams().length === 0);
  assert.deepEqual(without(collector.events).map((each) => each.id), ids);
  await Promise.all(clients.map((each) => each.close()));
});

test("what a close has no time for is sent by the next start", async () => {
  collector.always = hanging;
  const audit = clientOf(collector, { spool: directory });
  const ids = [audit.log(event(1)), audit.log(event(2))];
  const stats = await audit.close(200);
  assert.deepEqual([stats.pending, stats.failed], [3, 0]);
  collector.always = taken;
  const next = clientOf(collector, { spool: directory });
  await until(() => collector.events.length === 3);
  assert.deepEqual(without(collector.events).map((each) => each.id), ids);
  assert.equal(collector.events.filter((each) => each.action === "producer.closed").length, 1);
  await next.close();
});

test("memory stays bounded while the disk holds more; all of it is sent in order", async () => {
  collector.always = status(503);
  const audit = clientOf(collector, { spool: directory, maxPendingEvents: 50 });
  const ids = Array.from({ length: 12_000 }, (_, n) => audit.log(event(n, { reason: "x".repeat(500) })));
  assert.ok(!ids.includes(null));
  assert.ok(fs.readdirSync(join(directory, streams()[0])).filter((name) => name.endsWith(".ndjson")).length >= 2);
  collector.always = taken;
  assert.equal(await audit.flush(60_000), 0);
  assert.deepEqual(collector.events.map((each) => each.id), ids);
  audit.log(event("after"));
  await audit.close();
  assert.equal(collector.events[12_000].resource_id, "after");
  assert.deepEqual(collector.events.map((each) => each.producer_seq), Array.from({ length: 12_002 }, (_, n) => n));
});

test("the bound of the disk is kept; what is dropped is counted and said", async () => {
  collector.always = status(503);
  const audit = clientOf(collector, { spool: { directory, maxBytes: 65_536 }, maxPendingEvents: 10 });
  let kept = 0;
  for (let n = 0; n < 1_000; n += 1) if (audit.log(event(n)) !== null) kept += 1;
  assert.ok(kept > 50 && kept < 250, `${kept}`);
  assert.ok(audit.stats().spoolBytes <= 65_536);
  assert.deepEqual(audit.stats().dropped, { "spool full": 1_000 - kept });
  collector.always = taken;
  await audit.flush();
  await until(() => collector.events.some((each) => each.action === "audit.loss"));
  assert.equal(without(collector.events).length, kept);
  const stats = await audit.close();
  assert.deepEqual([stats.unreported, stats.pending], [0, 0]);
  const counts = collector.events.filter((each) => each.action === "audit.loss").map((each) => each.metadata.count);
  assert.equal(counts.reduce((sum, each) => sum + each, 0), 1_000 - kept);
});

test("losses that nobody has reported are said by who finds them", async () => {
  const program = `
    const { AuditClient } = require("sealstream-express");
    const audit = new AuditClient({ url: "http://127.0.0.1:9", key: "slk_x", source: { service: "shop" }, spool: { directory: ${JSON.stringify(directory)}, maxBytes: 65536 }, maxPendingEvents: 1, logger() {} });
    for (let n = 0; n < 1000; n += 1) audit.log({ action: "read", resource_type: "invoice", resource_id: n });
    setTimeout(() => { console.log(audit.stats().dropped["spool full"]); setInterval(() => {}, 1000); }, 2500);`;
  const child = spawn(process.execPath, ["-e", program], { cwd: HERE, stdio: ["ignore", "pipe", "inherit"] });
  const [said] = await once(child.stdout, "data");
  await killed(child);
  const audit = clientOf(collector, { spool: directory });
  await until(() => collector.events.some((each) => each.metadata?.reason === "not reported before the process died"));
  const loss = collector.events.find((each) => each.action === "audit.loss");
  assert.equal(loss.metadata.count, Number(said));
  await audit.close();
});

test("a torn end and a damaged place are counted; the rest is sent", async () => {
  const { child, ids } = await logging(20);
  await killed(child);
  const folder = join(directory, streams()[0]);
  const [segment] = fs.readdirSync(folder).filter((name) => name.endsWith(".ndjson"));
  const lines = fs.readFileSync(join(folder, segment), "utf8").split("\n");
  lines[5] = lines[5].replace('"read"', '"re\u0000');
  lines[19] = lines[19].slice(0, 40);
  fs.writeFileSync(join(folder, segment), lines.join("\n").trimEnd());
  const audit = clientOf(collector, { spool: directory });
  await until(() => collector.events.some((each) => each.action === "audit.loss"));
  assert.deepEqual(without(collector.events).map((each) => each.id), ids.filter((_id, n) => n !== 5 && n !== 19));
  assert.deepEqual(collector.events.find((each) => each.action === "audit.loss").metadata, { reason: "spool damaged", count: 2 });
  assert.ok(!collector.events.some((each) => each.action === "producer.closed"), "nobody can know its last number");
  await audit.close();
});

for (const [name, broken] of Object.entries({
  "a spool that can't be": (path) => fs.writeFileSync(path, ""),
  "a spool on a full disk": (path) => fs.symlinkSync("/proc", path),
})) {
  test(`${name} changes nothing: events wait in memory`, async () => {
    const path = join(directory, "spool");
    broken(path);
    collector.answers = [status(503)];
    const audit = clientOf(collector, { spool: path });
    const id = audit.log(event(1));
    assert.equal(await audit.flush(), 0);
    assert.deepEqual(collector.events.map((each) => each.id), [id]);
    assert.equal(audit.said.filter((each) => each.includes("can't be written")).length, 1);
    await audit.close();
  });
}

test("a disk that fills up, and has room again, loses nothing that was taken", { skip: process.getuid?.() !== 0 && "only root can mount a small disk" }, async (context) => {
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=256k", "tmpfs", directory], { stdio: "ignore" });
  } catch {
    return context.skip("no disk can be mounted here");
  }
  try {
    collector.always = status(503);
    const audit = clientOf(collector, { spool: directory, maxPendingEvents: 2_000 });
    const ids = Array.from({ length: 1_500 }, (_, n) => audit.log(event(n)));
    assert.ok(!ids.includes(null), "memory has room for what the disk has not");
    assert.ok(audit.said.some((each) => each.includes("can't be written")));
    collector.always = taken;
    assert.equal(await audit.flush(), 0);
    assert.deepEqual(collector.events.map((each) => each.id), ids);
    await sleep(1_100);
    audit.log(event("after"));
    assert.ok(fs.readFileSync(join(directory, streams()[0], fs.readdirSync(join(directory, streams()[0])).filter((each) => each.endsWith(".ndjson")).pop()), "utf8").includes('"after"'));
    await audit.close();
  } finally {
    execFileSync("umount", ["-l", directory]);
  }
});
