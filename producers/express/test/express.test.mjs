import assert from "node:assert/strict";
import { once } from "node:events";
import http from "node:http";
import net from "node:net";
import { createRequire } from "node:module";
import { pipeline, Readable } from "node:stream";
import { after, before, beforeEach, describe as suite, test } from "node:test";

import { auditErrors, auditMiddleware, describe, emittedAlready } from "sealstream-express";

import { clientOf, event, hanging, listening, RecordingCollector, until, without } from "./support.mjs";

const require = createRequire(import.meta.url);

/** A file that is read slowly, and can't be read to its end where `broken` says after how many parts. */
function bytes(broken = Infinity) {
  let parts = 0;
  return new Readable({
    read() {
      setTimeout(() => (parts++ < broken ? this.push("x".repeat(1_000)) : this.destroy(new URIError("x"))), 10);
    },
  });
}

for (const version of ["express4", "express5"]) {
  suite(version, () => {
    const express = require(version);
    const splat = version === "express5" ? "*splat" : "*";
    let collector;
    let audit;
    let close;

    before(async () => {
      collector = await new RecordingCollector().listen();
    });
    beforeEach(() => {
      collector.events = [];
      audit = clientOf(collector);
    });
    after(() => collector.close());

    /** What the application's requests are recorded as. */
    async function recorded(options, routes, ask, settings = {}) {
      if (Object.keys(settings).length > 0) audit = clientOf(collector, settings);
      const app = express();
      app.set("env", "test"); // its final handler prints no errors
      if (options !== undefined) app.use(auditMiddleware(audit, options));
      routes(app, express);
      const served = await listening(app);
      try {
        await ask((path, init) => fetch(served.url + path, init), served);
        await audit.close();
      } finally {
        served.close();
      }
      return without(collector.events);
    }

    test("below 400 is success, 401 and 403 are denied, everything else is failure", async () => {
      const statuses = [200, 204, 304, 400, 401, 403, 404, 422, 500, 503];
      const events = await recorded(
        {},
        (app) => app.get("/say/:status", (request, response) => response.status(Number(request.params.status)).end()),
        async (get) => {
          for (const each of statuses) await get(`/say/${each}`);
        },
      );
      assert.deepEqual(
        events.map((each) => [each.metadata.http_status, each.result]),
        statuses.map((each) => [each, each < 400 ? "success" : each === 401 || each === 403 ? "denied" : "failure"]),
      );
    });

    test("the event says who, what, to which resource, from where, in which session", async () => {
      const [read] = await recorded(
        {},
        (app) => {
          app.use((request, _response, next) => {
            request.user = { id: 42, role: "clerk" };
            request.sessionID = "session-1";
            next();
          });
          app.get("/invoices/:invoiceId", (_request, response) => response.json({}));
        },
        (get) =>
          get("/invoices/2026-17?secret=yes", {
            headers: {
              "user-agent": "curl/8",
              traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
              cookie: "a=b",
              authorization: "Bearer abc1234567890",
            },
          }),
      );
      const { id, timestamp, producer_id, producer_seq, source, metadata, ip_address, ...rest } = read;
      assert.deepEqual(rest, {
        action: "get:/invoices/{invoiceId}",
        actor_id: "42",
        actor_type: "user",
        resource_type: "invoice",
        resource_id: "2026-17",
        result: "success",
        user_agent: "curl/8",
        session_id: "session-1",
        trace_id: "0af7651916cd43dd8448eb211c80319c",
      });
      assert.match(ip_address, /^(::ffff:)?127\.0\.0\.1$/);
      assert.ok(metadata.duration_ms > 0 && metadata.http_status === 200);
      assert.ok(!JSON.stringify(read).includes("secret") && !JSON.stringify(read).includes("abc123"));
    });

    test("it is made after the response, which waits for nothing", async () => {
      collector.answers = [hanging];
      await recorded(
        {},
        (app) => app.get("/", (_request, response) => response.send("hello")),
        async (get) => {
          const begun = performance.now();
          assert.equal(await (await get("/")).text(), "hello");
          assert.ok(performance.now() - begun < 5_000);
          await until(() => audit.stats().emitted === 1);
          assert.equal(audit.stats().delivered, 0);
        },
        { requestTimeoutMs: 200 },
      );
    });

    test("an action is the route's template, through routers in routers", async () => {
      const events = await recorded(
        {},
        (app) => {
          const teams = express.Router();
          teams.get("/teams/:teamId", (_request, response) => response.end());
          teams.get("/", (_request, response) => response.end());
          const orgs = express.Router({ mergeParams: true });
          orgs.use((_request, _response, next) => next());
          orgs.use("/in/:region", teams);
          orgs.get("/", (_request, response) => response.end());
          orgs.post("/fail", (_request, _response, next) => next(new RangeError("x")));
          app.param("orgId", (_request, _response, next) => next());
          app.use("/orgs/:orgId", orgs);
          app.get(`/files/${splat}`, (_request, response) => response.end());
          app.use("/static", (_request, response) => response.end());
          app.get(/^\/v\d+$/, (_request, response) => response.end());
          const sub = express();
          sub.get("/about/:page", (_request, response) => response.end());
          app.use("/sub", sub);
        },
        async (get) => {
          await get("/orgs/7/in/e%20u/teams/in");
          await get("/orgs/orgs/in/in");
          await get("/orgs/7");
          await get("/orgs/7/fail", { method: "POST" });
          await get("/orgs/7/nothing");
          await get("/files/a/b.txt");
          await get("/static/x.png");
          await get("/v12");
          await get("/sub/about/us");
          await get("/nothing");
          await get("/nothing", { method: "DELETE" });
          await get("/orgs/7", { method: "HEAD" });
        },
      );
      assert.deepEqual(
        events.map((each) => each.action),
        [
          "get:/orgs/{orgId}/in/{region}/teams/{teamId}",
          "get:/orgs/{orgId}/in/{region}",
          "get:/orgs/{orgId}",
          "post:/orgs/{orgId}/fail",
          "get:unmatched",
          version === "express5" ? "get:/files/{splat}" : "get:/files/*",
          "get:/static/*",
          String.raw`get:/^\/v\d+$/`,
          "get:/sub/about/{page}",
          "get:unmatched",
          "delete:unmatched",
          "head:/orgs/{orgId}",
        ],
      );
      assert.deepEqual(
        events.slice(0, 4).map((each) => [each.resource_type, each.resource_id, each.metadata.path_params]),
        [
          ["team", "in", { orgId: "7", region: "e u", teamId: "in" }],
          ["region", "in", { orgId: "orgs", region: "in" }],
          ["org", "7", undefined],
          ["org", "7", undefined],
        ],
      );
      assert.equal(events[5].resource_id, "a/b.txt");
      assert.deepEqual([events[6].resource_type, events[6].resource_id], ["api_endpoint", "/static/x.png"]);
    });

    test("a prefix that is a pattern can't make any number of actions", async () => {
      const app = express();
      app.use(auditMiddleware(audit));
      app.use(/^\/any\d+/, express.Router().get("/x", (_request, response) => response.end()));
      const served = await listening(app);
      const agent = new http.Agent({ keepAlive: true, maxSockets: 4 });
      const ask = (path) =>
        new Promise((resolve, reject) => {
          http.get(served.url + path, { agent }, (response) => response.resume().on("end", resolve)).on("error", reject);
        });
      for (let n = 0; n < 1_100; n += 50) await Promise.all(Array.from({ length: 50 }, (_, i) => ask(`/any${n + i}/x`)));
      await audit.close();
      served.close();
      agent.destroy();
      const actions = new Set(without(collector.events).map((each) => each.action));
      assert.ok(actions.size <= 1_001 && actions.has("get:/*/x"), `${actions.size}`);
    });

    test("route, baseUrl and params are for handlers what they were", async () => {
      const seen = [];
      const routes = (app) => {
        const router = express.Router({ mergeParams: true });
        const handler = (request, response) => {
          seen.push([request.route.path, request.baseUrl, { ...request.params }, Object.keys(request).includes("route")]);
          request.params = { mine: "1" };
          assert.deepEqual(request.params, { mine: "1" });
          response.end();
        };
        router.get("/b/:b", handler);
        app.use("/a/:a", router);
      };
      await recorded(undefined, routes, (get) => get("/a/1/b/2"));
      await recorded({}, routes, (get) => get("/a/1/b/2"));
      assert.deepEqual(seen[1], seen[0]);
    });

    test("a thrown error, a rejected one and one for next are failures; with auditErrors, by their class", async () => {
      class Broken extends Error {}
      const routes = (told) => (app) => {
        app.get("/throw", () => {
          throw new Broken("of a patient");
        });
        app.get("/next", (_request, _response, next) => next(Object.assign(new Error("no"), { status: 403 })));
        if (version === "express5") app.get("/reject", async () => Promise.reject(new Broken("x")));
        app.get("/handled", () => {
          throw new TypeError("x");
        });
        if (told) app.use(auditErrors());
        app.use((error, request, response, next) => (request.path === "/handled" ? response.status(418).end() : next(error)));
      };
      const ask = async (get) => {
        for (const path of ["/throw", "/next", "/handled", ...(version === "express5" ? ["/reject"] : [])]) await get(path);
      };
      const say = (events) => events.map((each) => [each.action, each.result, each.metadata.http_status, each.metadata.error]);
      const silent = say(await recorded({}, routes(false), ask));
      collector.events = [];
      audit = clientOf(collector);
      const told = say(await recorded({}, routes(true), ask));
      assert.deepEqual(told.slice(0, 3), [
        ["get:/throw", "failure", 500, "Broken"],
        ["get:/next", "denied", 403, "Error"],
        ["get:/handled", "failure", 418, "TypeError"],
      ]);
      assert.deepEqual(silent, told.map(([action, result, status]) => [action, result, status, undefined]));
      assert.ok(!JSON.stringify(collector.events).includes("patient"));
    });

    test("a client that goes away, before or within the response, is a failure", async () => {
      const events = await recorded(
        {},
        (app) => {
          app.get("/slow", () => undefined);
          app.get("/long", (_request, response) => response.write("x".repeat(1_000)));
          app.get("/file", (_request, response) => pipeline(bytes(), response, () => undefined));
        },
        async (_get, { port }) => {
          for (const [path, end] of [["/slow", "destroy"], ["/long", "destroy"], ["/file", "destroy"], ["/file", "resetAndDestroy"]]) {
            const before = audit.stats().emitted;
            const socket = net.connect(port, "127.0.0.1");
            socket.write(`GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`);
            await (path === "/slow" ? new Promise((resolve) => setTimeout(resolve, 100)) : once(socket, "data"));
            socket[end]();
            await until(() => audit.stats().emitted === before + 1);
          }
        },
      );
      assert.deepEqual(
        events.map((each) => [each.action, each.result, each.metadata.error, each.metadata.http_status]),
        [
          ["get:/slow", "failure", "client disconnected", undefined],
          ["get:/long", "failure", "client disconnected", 200],
          ["get:/file", "failure", "client disconnected", 200],
          ["get:/file", "failure", "client disconnected", 200],
        ],
      );
    });

    test("a response that the application breaks off is a failure, and nobody else's", async () => {
      const events = await recorded(
        {},
        (app) => {
          app.get("/broken", (_request, response) => {
            response.write("half");
            setTimeout(() => response.destroy(), 20);
          });
          app.get("/thrown", (_request, response, next) => {
            response.write("half");
            setTimeout(() => next(new RangeError("x")), 20);
          });
          app.get("/unread", (_request, response) => pipeline(bytes(3), response, () => undefined));
          app.use(auditErrors());
        },
        async (get) => {
          await get("/broken").then((response) => response.text()).catch(() => undefined);
          await get("/thrown").then((response) => response.text()).catch(() => undefined);
          await get("/unread").then((response) => response.text()).catch(() => undefined);
          await until(() => audit.stats().emitted === 3);
        },
      );
      assert.deepEqual(
        events.map((each) => [each.action, each.result, each.metadata.error]),
        [
          ["get:/broken", "failure", "no complete response"],
          ["get:/thrown", "failure", "RangeError"],
          ["get:/unread", "failure", "URIError"],
        ],
      );
    });

    test("the address is Express's own, by its trust proxy", async () => {
      const ask = (get) => get("/", { headers: { "x-forwarded-for": "203.0.113.9, 10.0.0.1" } });
      const addressOf = async (trust, header) => {
        collector.events = [];
        audit = clientOf(collector);
        const [seen] = await recorded(
          undefined,
          (app) => {
            if (trust !== undefined) app.set("trust proxy", trust);
            app.use(auditMiddleware(audit));
            app.get("/", (_request, response) => response.end());
          },
          header === undefined ? ask : (get) => get("/", { headers: { "x-forwarded-for": header } }),
        );
        return [seen.ip_address.replace("::ffff:", ""), seen.metadata.ip_address];
      };
      assert.deepEqual(await addressOf(undefined), ["127.0.0.1", undefined]);
      assert.deepEqual(await addressOf(1), ["10.0.0.1", undefined]);
      assert.deepEqual(await addressOf(true), ["203.0.113.9", undefined]);
      assert.deepEqual(await addressOf(["loopback", "10.0.0.0/8"]), ["203.0.113.9", undefined]);
      assert.deepEqual(await addressOf(true, "'; DROP TABLE"), ["127.0.0.1", "'; DROP TABLE"]);
      assert.deepEqual(await addressOf(true, "203.0.113.9:4711"), ["203.0.113.9", undefined]);
      assert.deepEqual(await addressOf(true, "fe80::1%eth0"), ["fe80::1", undefined]);
    });

    test("describe says what a handler knows; nobody talks a failure away", async () => {
      const events = await recorded(
        {},
        (app) => {
          app.use(express.json());
          app.post("/a/:id", async (request, response) => {
            await new Promise((resolve) => setTimeout(resolve, 5));
            request.sessionID = "s-1";
            describe({ action: "invoice.approve", reason: "month's end", metadata: { a: 1 }, actor_id: "anna", tenant: "t" });
            describe({ metadata: { b: request.body.b }, resource_type: "invoice" });
            audit.log(event(9, { action: "invoice.mail" }));
            response.end();
          });
          app.get("/hidden", (_request, response) => {
            describe({ result: "denied" });
            response.status(404).end();
          });
          app.get("/lied", (_request, response) => {
            describe({ result: "success" });
            response.status(500).end();
          });
          app.get("/own", (_request, response) => {
            emittedAlready();
            response.end();
          });
          app.get("/own/failed", (_request, response) => {
            emittedAlready();
            response.status(500).end();
          });
        },
        async (get) => {
          await get("/a/7", { method: "POST", body: '{"b": 2}', headers: { "content-type": "application/json" } });
          for (const path of ["/hidden", "/lied", "/own", "/own/failed"]) await get(path);
        },
      );
      const [mail, approve, hidden, lied, failed] = events;
      assert.deepEqual([mail.session_id, approve.session_id, lied.session_id], ["s-1", "s-1", undefined]);
      assert.deepEqual([mail.action, mail.actor_id, mail.tenant, mail.reason], ["invoice.mail", "anna", "t", undefined]);
      assert.ok(mail.ip_address && mail.user_agent);
      const { duration_ms, ...metadata } = approve.metadata;
      assert.deepEqual(
        [approve.action, approve.actor_id, approve.reason, approve.resource_type, approve.resource_id, metadata],
        ["invoice.approve", "anna", "month's end", "invoice", "7", { a: 1, b: 2, http_status: 200 }],
      );
      assert.deepEqual([hidden.result, lied.result], ["denied", "failure"]);
      assert.deepEqual([failed.action, events.length], ["get:/own/failed", 5]);
    });

    test("who acts: the application's function, req.user of any kind, req.auth, anonymous", async () => {
      const users = {
        mongo: { _id: { toJSON: () => "65f0", toString: () => "65f0" } },
        jwt: undefined,
        text: "berta",
        none: null,
        odd: { name: "x" },
      };
      const ask = async (get) => {
        for (const each of Object.keys(users)) await get(`/?as=${each}`);
      };
      const routes = (app) => {
        app.use((request, _response, next) => {
          request.user = users[request.query.as];
          if (request.query.as === "jwt") request.auth = { sub: "subject-1" };
          next();
        });
        app.get("/", (_request, response) => response.end());
      };
      const who = (events) => events.map((each) => [each.actor_id, each.actor_type]);
      assert.deepEqual(who(await recorded({}, routes, ask)), [
        ["65f0", "user"],
        ["subject-1", "user"],
        ["berta", "user"],
        ["anonymous", "anonymous"],
        ["anonymous", "anonymous"],
      ]);
      collector.events = [];
      audit = clientOf(collector);
      const actor = (request) =>
        request.query.as === "text" ? { id: "job", type: "service", on_behalf_of: "carla", tenant: "t", session_id: "s" } : undefined;
      const events = await recorded({ actor }, routes, ask);
      assert.deepEqual(who(events)[2], ["job", "service"]);
      assert.deepEqual([events[2].on_behalf_of, events[2].tenant, events[2].session_id], ["carla", "t", "s"]);
    });

    test("a session of express-session is named", async () => {
      const session = require("express-session");
      let id;
      const [first] = await recorded(
        {},
        (app) => {
          app.use(session({ secret: "x", resave: false, saveUninitialized: true }));
          app.get("/", (request, response) => {
            id = request.session.id;
            response.end();
          });
        },
        (get) => get("/"),
      );
      assert.ok(id);
      assert.equal(first.session_id, id);
    });

    test("excluded paths have no events", async () => {
      for (const exclude of [["/health"], new Set(["/health"]), (request) => request.path === "/health"]) {
        collector.events = [];
        audit = clientOf(collector);
        const events = await recorded(
          { exclude },
          (app) => app.use((_request, response) => response.end()),
          async (get) => {
            await get("/health?x");
            await get("/healthy");
          },
        );
        assert.deepEqual(events.map((each) => each.resource_id), ["/healthy"]);
      }
    });

    test("a parameter whose name says a secret is not told", async () => {
      const [reset] = await recorded(
        {},
        (app) => app.get("/users/:userId/reset/:token", (_request, response) => response.end()),
        (get) => get("/users/7/reset/hunter2"),
      );
      assert.deepEqual([reset.resource_type, reset.resource_id], ["token", "[redacted]"]);
      assert.deepEqual(reset.metadata.path_params, { userId: "7", token: "[redacted]" });
      assert.ok(!JSON.stringify(reset).includes("hunter2"));
    });

    test("whatever fails in what the application gave, the request goes on, and is recorded", async () => {
      const bad = () => {
        throw new Error("of the application");
      };
      const [only] = await recorded(
        { actor: bad, exclude: bad, sessionId: bad },
        (app) => {
          app.use((request, _response, next) => {
            Object.defineProperty(request, "user", { get: bad, configurable: true });
            next();
          });
          app.get("/:id", (request, response) => {
            describe({ metadata: { get x() { return bad(); } } });
            request.params = new Proxy({}, { ownKeys: bad });
            response.send("fine");
          });
        },
        async (get) => assert.equal(await (await get("/7")).text(), "fine"),
      );
      assert.equal(only.result, "success");
      assert.ok(audit.said.some((each) => each.includes("of the application")));
    });

    test("a client that is closed or broken breaks no request", async () => {
      await audit.close();
      audit.emit = () => {
        throw new Error("ours");
      };
      await recorded(
        {},
        (app) => app.get("/", (_request, response) => response.send("fine")),
        async (get) => assert.equal(await (await get("/")).text(), "fine"),
      );
    });

    test("an odd method, path and agent can't make a request too odd to be logged", async () => {
      const events = await recorded(
        {},
        (app) => app.get("/x/:id", (_request, response) => response.end()),
        async (_get, { port }) => {
          const asked = [
            `GET /x/${"%F0%9F%92%A9".repeat(300)} HTTP/1.1`,
            "PURGE /x HTTP/1.1",
            "GET /x/%00%ED%A0%80 HTTP/1.1",
            "GET /x/%E0%A4%A HTTP/1.1",
            "GET http://elsewhere/x/absolute HTTP/1.1",
            "GET /x/a?b#c HTTP/1.1",
          ];
          for (const line of asked) {
            const socket = net.connect(port, "127.0.0.1");
            socket.write(`${line}\r\nHost: x\r\nUser-Agent: ${"\u00e4".repeat(3_000)}\r\nConnection: close\r\n\r\n`, "latin1");
            socket.resume();
            await once(socket, "close");
          }
          await until(() => audit.stats().emitted >= asked.length);
        },
      );
      assert.equal(events.length, 6);
      assert.equal(audit.stats().dropped.invalid, undefined);
      assert.ok(events.every((each) => Buffer.byteLength(each.user_agent) <= 1_024));
      assert.ok(events.every((each) => Buffer.byteLength(each.resource_id) <= 512));
      assert.equal(events[1].action, "other:unmatched");
    });
  });
}
