// A small shop with an audit log, as a process of its own that tests ask, stop and kill. Says its port.
import { createRequire } from "node:module";

import { AuditClient, auditErrors, auditMiddleware, describe } from "sealstream-express";

const require = createRequire(import.meta.url);
const express = require(process.argv[2] ?? "express5");
const audit = AuditClient.fromEnv();
const app = express();
app.set("env", "test");
app.use(auditMiddleware(audit, { exclude: ["/health"] }));
app.use((request, _response, next) => {
  const name = request.get("x-user");
  if (name) request.user = { id: name };
  next();
});
app.get("/health", (_request, response) => response.send("ok"));
const invoices = express.Router();
invoices.get("/:invoiceId", (request, response) => {
  if (request.user === undefined) return response.status(401).end();
  describe({ reason: "month's end" });
  return response.json({ id: request.params.invoiceId });
});
invoices.post("/:invoiceId/approve", (request, response) => {
  audit.log({ action: "invoice.approve", resource_type: "invoice", resource_id: request.params.invoiceId });
  response.status(204).end();
});
invoices.delete("/:invoiceId", () => {
  throw new RangeError("not this one");
});
app.use("/shops/:shopId/invoices", invoices);
app.use(auditErrors());

const server = app.listen(0, "127.0.0.1", () => console.log(server.address().port));
process.on("SIGTERM", () => {
  server.close();
  server.closeIdleConnections?.();
  void audit.close().then((stats) => {
    console.log(JSON.stringify(stats));
    process.exit(0);
  });
});
