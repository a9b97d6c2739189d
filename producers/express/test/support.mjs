// A collector that records and does what a test says, a server for an application, and patience.
import { once } from "node:events";
import http from "node:http";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";

import { AuditClient } from "sealstream-express";

const UUID7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

/** Takes everything, unless `answers` has something else for the next request, or `always` for each. */
export class RecordingCollector {
  requests = [];
  events = [];
  answers = [];
  always = taken;
  #sockets = new Set();

  async listen(port = 0) {
    this.server = http.createServer((request, response) => void this.#answer(request, response));
    this.server.on("connection", (socket) => {
      this.#sockets.add(socket);
      socket.on("close", () => this.#sockets.delete(socket));
    });
    this.server.listen(port, "127.0.0.1");
    await once(this.server, "listening");
    this.port = this.server.address().port;
    this.url = `http://127.0.0.1:${this.port}`;
    return this;
  }

  async #answer(request, response) {
    const chunks = [];
    try {
      for await (const chunk of request) chunks.push(chunk);
    } catch {
      return;
    }
    let body = Buffer.concat(chunks);
    if (request.headers["content-encoding"] === "gzip") body = gunzipSync(body);
    const events = body.toString().trimEnd().split("\n").map((line) => JSON.parse(line));
    this.requests.push({ headers: request.headers, events, bytes: body.length, at: performance.now() });
    const answer = this.answers.shift() ?? this.always;
    answer({ request, response, events, collector: this });
  }

  async close() {
    this.server.close();
    for (const socket of this.#sockets) socket.destroy();
  }
}

export function json(response, status, body, headers = {}) {
  const type = status >= 400 ? "application/problem+json" : "application/json";
  response.writeHead(status, { "content-type": type, ...headers });
  response.end(JSON.stringify(body));
}

export function taken({ response, events, collector }) {
  collector.events.push(...events);
  json(response, 202, { accepted: events.length, refused: 0, ids: events.map((each) => each.id), refusals: [] });
}

/** Refuses the events of these places, from 1, and takes the others. */
export const refusing = (...lines) => ({ response, events, collector }) => {
  const refusals = lines.map((line) => ({ line, field: "result", why: "result is none of its values" }));
  const accepted = events.filter((_event, index) => !lines.includes(index + 1));
  collector.events.push(...accepted);
  const body = { accepted: accepted.length, refused: refusals.length, ids: accepted.map((each) => each.id), refusals };
  json(response, accepted.length > 0 ? 207 : 422, body);
};

export const status = (code, headers) => ({ response }) => json(response, code, { detail: "as the test says" }, headers);
export const hanging = () => {};
export const hangingUp = ({ request }) => request.socket.destroy();

export function clientOf(collector, settings = {}) {
  const said = [];
  const client = new AuditClient({
    url: collector.url,
    key: "slk_0123456789ab_secret",
    lingerMs: 5,
    source: { service: "shop" },
    logger: (message) => said.push(message),
    ...settings,
  });
  client.said = said;
  return client;
}

export async function until(condition, timeoutMs = 30_000, what = String(condition)) {
  const deadline = performance.now() + timeoutMs;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`not within ${timeoutMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

export async function listening(app) {
  const server = app.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  const close = () => {
    server.closeAllConnections?.();
    server.close();
  };
  return { url: `http://127.0.0.1:${port}`, port, close };
}

export const emptyFolder = () => mkdtempSync(join(tmpdir(), "sealstream-test-"));
export const event = (n, more = {}) => ({ action: "read", resource_type: "invoice", resource_id: n, ...more });
export const isUuid7 = (text) => UUID7.test(text);
export const without = (events) => events.filter((each) => !["producer.closed", "audit.loss"].includes(each.action));
