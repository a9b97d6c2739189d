// One JSON document a line: what redaction makes of it. The Python client's tests compare.
import { createInterface } from "node:readline";

import { Redaction } from "sealstream-express";

const redaction = new Redaction();
for await (const line of createInterface({ input: process.stdin })) {
  const event = JSON.parse(line);
  redaction.redact(event);
  console.log(JSON.stringify(event));
}
