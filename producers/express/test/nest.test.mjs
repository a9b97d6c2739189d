import "reflect-metadata";

import assert from "node:assert/strict";
import { after, before, beforeEach, describe as suite, test } from "node:test";

import { auditNest } from "sealstream-express/nest";

import { clientOf, RecordingCollector, without } from "./support.mjs";

const [MAJOR] = process.versions.node.split(".").map(Number);

suite("NestJS", { skip: MAJOR < 20 && "NestJS 11 needs Node 20" }, () => {
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

  /** A controller, a guard and a module, as TypeScript's decorators make them. */
  async function moduleOf() {
    const { Controller, ForbiddenException, Get, Module, UseGuards } = await import("@nestjs/common");
    class Guard {
      canActivate(context) {
        context.switchToHttp().getRequest().user = { id: "anna" };
        return true;
      }
    }
    class Invoices {
      read() {
        return { id: 7 };
      }
      refuse() {
        throw new ForbiddenException();
      }
      fail() {
        throw new TypeError("x");
      }
    }
    const decorate = (name, ...decorators) => {
      const descriptor = Object.getOwnPropertyDescriptor(Invoices.prototype, name);
      for (const each of decorators) each(Invoices.prototype, name, descriptor);
      Object.defineProperty(Invoices.prototype, name, descriptor);
    };
    decorate("read", Get("invoices/:invoiceId"));
    decorate("refuse", Get("refused"));
    decorate("fail", Get("failed"));
    Controller("billing")(Invoices);
    UseGuards(Guard)(Invoices);
    class App {}
    Module({ controllers: [Invoices] })(App);
    return App;
  }

  for (const platform of ["express", "fastify"]) {
    test(`on ${platform}, requests are recorded with their routes and results`, async () => {
      const { NestFactory } = await import("@nestjs/core");
      const adapter = platform === "fastify" ? [new (await import("@nestjs/platform-fastify")).FastifyAdapter()] : [];
      const app = await NestFactory.create(await moduleOf(), ...adapter, { logger: false });
      app.setGlobalPrefix("api");
      await auditNest(app, audit);
      await app.listen(0, "127.0.0.1");
      const url = await app.getUrl();
      for (const path of ["/api/billing/invoices/17", "/api/billing/refused", "/api/billing/failed", "/nothing"]) {
        await (await fetch(url + path)).text();
      }
      await audit.close();
      await app.close();
      assert.deepEqual(
        without(collector.events).map((each) => [each.action, each.resource_id, each.actor_id, each.result]),
        [
          ["get:/api/billing/invoices/{invoiceId}", "17", "anna", "success"],
          ["get:/api/billing/refused", "/api/billing/refused", "anna", "denied"],
          ["get:/api/billing/failed", "/api/billing/failed", "anna", "failure"],
          ["get:unmatched", "/nothing", "anonymous", "failure"],
        ],
      );
    });
  }
});
