// Writes src/event.ts from the repository's JSON Schema of an event. `--check`: only says whether it is current.
import { readFileSync, writeFileSync } from "node:fs";

const SCHEMA = new URL("../../../schemas/sealstream/events/event.schema.json", import.meta.url);
const TARGET = new URL("../src/event.ts", import.meta.url);

const typesOf = (schema) => (Array.isArray(schema.type) ? schema.type : [schema.type]);

function typescript(schema, indent) {
  if (schema.enum) return schema.enum.map((each) => JSON.stringify(each)).join(" | ");
  const kind = typesOf(schema).find((each) => each !== "null");
  if (kind === "string") return "string";
  if (kind === "integer") return "number";
  if (kind === "array") return `readonly ${typescript(schema.items, indent)}[]`;
  if (kind === "object" && schema.properties) {
    const inner = `${indent}  `;
    return `{\n${members(schema, inner)}\n${indent}}`;
  }
  if (kind === "object") return "JsonObject";
  throw new Error(`no type for ${JSON.stringify(schema)}`);
}

function members(schema, indent) {
  return Object.entries(schema.properties)
    .map(([name, each]) => {
      const needed = schema.required?.includes(name) ?? false;
      const type = typescript(each, indent) + (needed || each.enum ? "" : " | null");
      return `${indent}/** ${each.description} */\n${indent}${name}${needed ? "" : "?"}: ${type};`;
    })
    .join("\n");
}

function rule(schema, needed) {
  const kind = typesOf(schema).find((each) => each !== "null");
  const parts = [];
  if (schema.enum) parts.push(`kind: "choice"`, `choices: ${JSON.stringify(schema.enum)}`);
  else if (kind === "string") parts.push(`kind: "text"`);
  else if (kind === "integer") parts.push(`kind: "number"`);
  else if (kind === "array") parts.push(`kind: "texts"`);
  else parts.push(schema.properties ? `kind: "source"` : `kind: "object"`);
  if (schema.maxLength) parts.push(`limit: ${schema.maxLength}`);
  if (needed) parts.push("required: true");
  return `{ ${parts.join(", ")} }`;
}

function program(schema) {
  const rules = Object.entries(schema.properties).map(
    ([name, each]) => `  ${name}: ${rule(each, schema.required.includes(name))},`,
  );
  return `// Made of event.schema.json by scripts/make-event-types.mjs: change the schema, and run \`npm run types\`.

export type Json = null | boolean | number | string | readonly Json[] | { readonly [name: string]: Json };
export type JsonObject = { readonly [name: string]: Json };

/** ${schema.description} */
export interface AuditEvent {
${members(schema, "  ")}
}

export type ActorType = AuditEvent["actor_type"];
export type Result = AuditEvent["result"];

/** What a field holds; \`limit\`: of its UTF-8 bytes. */
export interface Rule {
  readonly kind: "choice" | "text" | "number" | "texts" | "source" | "object";
  readonly limit?: number;
  readonly required?: boolean;
  readonly choices?: readonly string[];
}

export const FIELDS: Readonly<Record<keyof AuditEvent, Rule>> = {
${rules.join("\n")}
};

export const SOURCE_LIMIT = ${schema.properties.source.properties.service.maxLength};
export const LARGEST_INTEGER = ${schema.properties.producer_seq.maximum};
`;
}

const made = program(JSON.parse(readFileSync(SCHEMA, "utf8")));
if (process.argv.includes("--check")) {
  if (readFileSync(TARGET, "utf8") !== made) {
    console.error("src/event.ts is not what event.schema.json makes: run `npm run types`");
    process.exitCode = 1;
  }
} else writeFileSync(TARGET, made);
