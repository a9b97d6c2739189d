// A shop in Express: customers see their orders, staff refund them. Events go to `sealstream collect`.
//
//   SEALSTREAM_COLLECTOR_URL=http://127.0.0.1:8481 SEALSTREAM_COLLECTOR_KEY=slk_... PORT=3000 node app.mjs
import { createHmac, timingSafeEqual } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";

import express from "express";
import { AuditClient, auditErrors, auditMiddleware, describe } from "sealstream-express";

const PASSWORDS = { sam: "sam's swordfish", "customer-1": "one swordfish", "customer-2": "two swordfish" };
const STAFF = new Set(["sam"]);
const numbers = Array.from({ length: 200 }, (_, n) => n);
// In memory, where a real one has a database.
const orders = new Map(numbers.map((n) => [String(n), { customer: `customer-${1 + (n % 2)}`, state: "paid" }]));
const cards = new Map(numbers.map((n) => [String(n), { card_number: "5500000000000004", holder: `old-${n}` }]));

const audit = AuditClient.fromEnv();
const app = express();
app.use(auditMiddleware(audit, { exclude: ["/health"] })); // before everything else
app.use(express.json());

// Who asks: a name with our signature. The middleware finds `req.user` by itself, when the response has ended.
const signature = (name) => createHmac("sha256", "an example's, of no use elsewhere").update(name).digest();
app.use((req, res, next) => {
  const [, name, signed] = /^Bearer ([^ ]+)\.([0-9a-f]{64})$/.exec(req.get("authorization") ?? "") ?? [];
  if (name !== undefined && timingSafeEqual(Buffer.from(signed, "hex"), signature(name))) req.user = { id: name };
  next();
});

app.get("/health", (req, res) => res.send("ok"));

// A wrong password is a denial of that account, by somebody unknown.
app.post("/login", (req, res) => {
  const { name, password } = req.body;
  describe({ action: "login", resource_type: "user_account", resource_id: name });
  if (PASSWORDS[name] !== password) return res.sendStatus(401);
  req.user = { id: name };
  return res.json({ token: `${name}.${signature(name).toString("hex")}` });
});

app.use((req, res, next) => (req.user === undefined ? res.sendStatus(401) : next()));

// All orders, slowly. Somebody who goes away before the end leaves a failure.
app.get("/orders/export", async (req, res) => {
  for (const [id, order] of orders) {
    if (res.destroyed) return;
    res.write(`${id} ${order.state}\n`);
    await sleep(100);
  }
  res.end();
});

app.get("/orders/:orderId", (req, res) => {
  const order = orders.get(req.params.orderId);
  return STAFF.has(req.user.id) || order.customer === req.user.id ? res.json(order) : res.sendStatus(403);
});

// Two events: the refund, by the business's word for it, and the request's own.
app.post("/orders/:orderId/refund", (req, res) => {
  if (!STAFF.has(req.user.id)) return res.sendStatus(403);
  const order = orders.get(req.params.orderId);
  audit.log({
    action: "order.refund",
    resource_type: "order",
    resource_id: req.params.orderId,
    changed_fields: ["state"],
    old_values: { state: order.state },
    new_values: { state: "refunded" },
  });
  order.state = "refunded";
  return res.sendStatus(204);
});

// The card's number is `[redacted]` before anything leaves the process.
app.put("/customers/:customerId/card", (req, res) => {
  const old_values = cards.get(req.params.customerId);
  describe({ action: "card.change", changed_fields: ["card_number", "holder"], old_values, new_values: req.body });
  cards.set(req.params.customerId, req.body);
  res.sendStatus(204);
});

// What goes wrong is in the log with the class of what went wrong, never its text.
app.post("/orders/:orderId/shipment", (req) => {
  throw new RangeError(`the carrier does not answer for order ${req.params.orderId}`);
});

app.use(auditErrors()); // after all routes
app.use((error, req, res, next) => (res.headersSent ? next(error) : res.sendStatus(error.status ?? 500)));

const server = app.listen(Number(process.env.PORT ?? 3000), "127.0.0.1");
process.on("SIGTERM", () => server.close(() => audit.close().then(() => process.exit(0))));
