/**
 * NestJS, on Express or Fastify: one audit event for each request, made when its response has ended.
 *
 *     const app = await NestFactory.create(AppModule);
 *     await auditNest(app, audit);
 */

import type { AuditClient } from "./client.js";
import { auditMiddleware } from "./express.js";
import { auditPlugin } from "./fastify.js";
import type { RequestOptions } from "./requests.js";

interface NestApplication {
  getHttpAdapter(): { getType(): string };
  use(...handlers: any[]): unknown;
  register?(plugin: any, options?: any): any;
}

/** Before `listen` and `init`. `options`: as `auditMiddleware`'s. */
export async function auditNest(app: NestApplication, client: AuditClient, options: RequestOptions<any> = {}): Promise<void> {
  if (app.getHttpAdapter().getType() === "fastify" && app.register !== undefined) {
    await app.register(auditPlugin, { client, ...options });
  } else {
    app.use(auditMiddleware(client, options));
  }
}
