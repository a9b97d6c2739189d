// Against a real collector, before real Kafka: `tests/express` of the repository starts one and says where.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { createRequire } from "node:module";
import { describe as suite, test } from "node:test";

import { auditMiddleware } from "sealstream-express";

import { clientOf, event, listening, until } from "./support.mjs";

const require = createRequire(import.meta.url);
const { SEALSTREAM_TEST_URL: url, SEALSTREAM_TEST_KEY: key, SEALSTREAM_TEST_NARROW_KEY: narrow } = process.env;

suite("a real collector", { skip: url === undefined && "none is here: tests/express starts one" }, () => {
  const settings = { key };

  test("takes every event that the client lets pass, whatever a stranger made of it", async () => {
    const audit = clientOf({ url }, settings);
    const strange = [
      {}, { reason: "\u0000\ud800\udfff \ud83d\ude00" }, { metadata: { n: 1e300, m: -0, k: 5e-324, big: 2n ** 70n, list: [[[]]] } },
      { actor_id: "\u00e4".repeat(2_000) }, { ip_address: "::ffff:10.0.0.7" }, { ip_address: "2001:DB8:0:0:0:0:0:1" },
      { ip_address: "999.1.1.1" }, { user_agent: "x".repeat(100_000) }, { metadata: { ["__proto__"]: { a: 1 }, "": "" } },
      { metadata: { deep: Array.from({ length: 100 }).reduce((inner) => ({ inner }), 1) } },
      { old_values: { text: "\u{1f4a9}".repeat(40_000) }, new_values: {}, changed_fields: [] },
      { timestamp: new Date(0) }, { timestamp: "2026-11-24T03:00:00.123456+01:00" }, { timestamp: new Date(253402300799999) },
      { tenant: "t", session_id: "", subject_id: "s", trace_id: "t" }, { id: randomUUID().toUpperCase() },
      { metadata: Object.fromEntries(Array.from({ length: 3_000 }, (_, n) => [`name-${n}`, "x".repeat(15)])) },
      { reason: "r".repeat(60_300) }, { metadata: { a: "x".repeat(59_000) } },
    ];
    for (const [n, more] of strange.entries()) assert.ok(audit.log(event(`strange-${n}`, more)), `number ${n}`);
    const stats = await audit.close();
    assert.deepEqual([stats.dropped, stats.delivered, audit.said], [{}, strange.length + 1, []]);
  });

  test("takes the largest batches that the client makes", async () => {
    const audit = clientOf({ url }, settings);
    const noise = () => Array.from({ length: 30 }, randomUUID).join(" ");
    for (let n = 0; n < 1_500; n += 1) assert.ok(audit.log(event(`large-${n}`, { metadata: { noise: noise() } })));
    const stats = await audit.close(30_000);
    assert.deepEqual([stats.dropped, stats.delivered], [{}, 1_501]);
  });

  test("refuses what a key may not claim, one by one; the client counts it and says so", async () => {
    const audit = clientOf({ url }, { key: narrow });
    audit.log(event("narrow-1", { actor_id: "anna" }));
    audit.log(event("narrow-2", { actor_id: "job", actor_type: "system" }));
    audit.log(event("narrow-3", { actor_id: "berta" }));
    const stats = await audit.close();
    assert.deepEqual([stats.dropped, stats.delivered], [{ refused: 1 }, 2]); // this key may not close the stream, either
    assert.ok(audit.said.some((each) => each.includes("actor_type")));
  });

  test("a wrong key is waited out, and said", async () => {
    const audit = clientOf({ url }, { key: "slk_0123456789ab_wrong" });
    audit.log(event("never"));
    const stats = await audit.close(500);
    assert.equal(stats.delivered, 0);
    assert.ok(audit.said.some((each) => each.includes("401")), audit.said.join());
  });

  for (const version of ["express4", "express5"]) {
    test(`requests of ${version} arrive`, async () => {
      const express = require(version);
      const audit = clientOf({ url }, settings);
      const app = express();
      app.use(auditMiddleware(audit));
      app.get(`/${version}/:invoiceId`, (_request, response) => response.json({}));
      const served = await listening(app);
      for (let n = 0; n < 20; n += 1) await (await fetch(`${served.url}/${version}/${n}`)).text();
      await until(() => audit.stats().emitted === 20);
      const stats = await audit.close();
      served.close();
      assert.deepEqual([stats.delivered, stats.dropped], [21, {}]);
    });
  }
});
