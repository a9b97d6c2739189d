import assert from "node:assert/strict";
import { createRequire } from "node:module";
import net from "node:net";
import { after, before, beforeEach, describe as suite, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { describe } from "sealstream-express";
import { auditPlugin } from "sealstream-express/fastify";

import { clientOf, event, RecordingCollector, until, without } from "./support.mjs";

const require = createRequire(import.meta.url);
const [MAJOR] = process.versions.node.split(".").map(Number);

for (const version of ["fastify4", "fastify5"]) {
  suite(version, { skip: version === "fastify5" && MAJOR < 20 && "Fastify 5 needs Node 20" }, () => {
    let collector;
    let audit;
    before(async () => {
      collector = await new RecordingCollector().listen();
    });
    beforeEach(() => {
      collector.events = [];
      audit = clientOf(collector);
    });
    after(() => collector.close());

    async function recorded(routes, ask, settings = {}, options = {}) {
      const { default: Fastify } = await import(version);
      const app = Fastify({ trustProxy: true, ...settings });
      await app.register(auditPlugin, { client: audit, ...options });
      await routes(app);
      await app.listen({ port: 0, host: "127.0.0.1" });
      const { port } = app.server.address();
      await ask((path, init) => fetch(`http://127.0.0.1:${port}${path}`, init), port);
      await audit.close();
      app.server.closeAllConnections?.();
      await app.close();
      return without(collector.events);
    }

    test("requests are recorded as Express's are", async () => {
      class Broken extends Error {}
      const events = await recorded(
        async (app) => {
          app.addHook("preHandler", async (request) => {
            request.user = { id: "anna" };
          });
          await app.register(
            async (inner) => {
              inner.get("/teams/:teamId", async () => {
                await sleep(5);
                describe({ reason: "why" });
                audit.log(event(9, { action: "inner" }));
                return {};
              });
            },
            { prefix: "/orgs/:orgId" },
          );
          app.get("/forbidden", (_request, reply) => reply.code(403).send());
          app.get("/throw", async () => {
            throw new Broken("of a patient");
          });
          app.get("/files/*", async () => "x");
          app.get("/health", async () => "x");
        },
        async (get) => {
          const headers = { "x-forwarded-for": "203.0.113.9", "user-agent": "curl" };
          for (const path of ["/orgs/7/teams/t-9?q=secret", "/forbidden", "/throw", "/files/a/b", "/nothing", "/health"]) {
            await get(path, { headers });
          }
        },
        {},
        { exclude: ["/health"] },
      );
      const inner = events.shift();
      assert.deepEqual([inner.action, inner.actor_id, inner.ip_address], ["inner", "anna", "203.0.113.9"]);
      assert.deepEqual(
        events.map((each) => [each.action, each.resource_type, each.resource_id, each.result, each.metadata.error]),
        [
          ["get:/orgs/{orgId}/teams/{teamId}", "team", "t-9", "success", undefined],
          ["get:/forbidden", "api_endpoint", "/forbidden", "denied", undefined],
          ["get:/throw", "api_endpoint", "/throw", "failure", "Broken"],
          ["get:/files/*", "path", "a/b", "success", undefined],
          ["get:unmatched", "api_endpoint", "/nothing", "failure", undefined],
        ],
      );
      assert.deepEqual(
        [events[0].actor_id, events[0].ip_address, events[0].user_agent, events[0].reason],
        ["anna", "203.0.113.9", "curl", "why"],
      );
      assert.deepEqual(events[0].metadata.path_params, { orgId: "7", teamId: "t-9" });
      assert.ok(!JSON.stringify(events).includes("patient") && !JSON.stringify(events).includes("secret"));
    });

    test("a request that no hook sees is recorded, too", async () => {
      const events = await recorded(
        async (app) => {
          app.get("/teams/:teamId", async () => ({}));
        },
        async (get) => {
          assert.equal((await get("/teams/%ff?token=secret")).status, 400);
          assert.equal((await get("/health%ff")).status, 400);
          assert.equal((await get("/teams/7")).status, 200);
        },
        {},
        { exclude: (request) => request.url.startsWith("/health") },
      );
      assert.deepEqual(
        events.map((each) => [each.action, each.resource_id, each.result, each.metadata.http_status, each.ip_address]),
        [
          ["get:unmatched", "/teams/%ff", "failure", 400, "127.0.0.1"],
          ["get:/teams/{teamId}", "7", "success", 200, "127.0.0.1"],
        ],
      );
    });

    test("a client that goes away is a failure", async () => {
      const events = await recorded(
        (app) => app.get("/slow", () => new Promise(() => undefined)),
        async (_get, port) => {
          const socket = net.connect(port, "127.0.0.1");
          socket.write("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n");
          await sleep(100);
          socket.destroy();
          await until(() => audit.stats().emitted === 1);
        },
      );
      assert.deepEqual([events[0].result, events[0].metadata.error], ["failure", "client disconnected"]);
    });
  });
}
