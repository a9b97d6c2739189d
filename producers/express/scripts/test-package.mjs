// Packs, installs the package from its tarball as users do, and looks at it: what is in it, `import` and `require` (one
// state), types by every resolution of TypeScript, with the types of Express 4 and 5.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const RESOLUTIONS = [
  ["node16", "node16", "user.mts"],
  ["node16", "node16", "user.cts"],
  ["esnext", "bundler", "user.ts"],
  ["commonjs", "node10", "user.ts"],
];
const root = fileURLToPath(new URL("..", import.meta.url));
const require = createRequire(import.meta.url);
const folder = mkdtempSync(join(tmpdir(), "sealstream-package-"));
const run = (command, args, cwd = folder) =>
  execFileSync(command, args, { cwd, encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] });
const node = (...args) => run(process.execPath, args);
const only = (step, name) => console.log(`ok ${name}${step === undefined ? "" : `: ${step}`}`);

try {
  const [packed] = JSON.parse(run("npm", ["pack", "--json", "--ignore-scripts", "--pack-destination", folder], root));
  const names = packed.files.map((each) => each.path);
  assert.ok(names.every((each) => /^(?:dist\/[a-z_]+\.(?:js|mjs|d\.ts|d\.mts)|package\.json|README\.md|LICENSE)$/.test(each)), names.join());
  for (const each of ["index", "fastify", "nest"]) {
    for (const end of ["js", "mjs", "d.ts", "d.mts"]) assert.ok(names.includes(`dist/${each}.${end}`), `${each}.${end}`);
  }
  only(`${names.length} files, ${packed.size} bytes`, "what is packed");

  writeFileSync(join(folder, "package.json"), `{ "name": "user", "private": true }`);
  writeFileSync(join(folder, ".npmrc"), "package-lock=false\n");
  run("npm", ["install", "--offline", "--no-audit", "--no-fund", join(folder, packed.filename)]);
  const installed = run("ls", ["node_modules"]).trim();
  assert.equal(installed, "sealstream-express");
  only(undefined, "no dependencies are installed with it");

  writeFileSync(
    join(folder, "one.mjs"),
    `import assert from "node:assert";
     import { createRequire } from "node:module";
     import * as main from "sealstream-express";
     import { auditPlugin } from "sealstream-express/fastify";
     import { auditNest } from "sealstream-express/nest";
     const required = createRequire(import.meta.url)("sealstream-express");
     assert.equal(required.AuditClient, main.AuditClient);
     assert.deepEqual(Object.keys(main).sort(), Object.keys(required).sort());
     assert.equal(typeof auditPlugin, "function");
     assert.equal(typeof auditNest, "function");`,
  );
  node("one.mjs");
  node("-e", `const { auditMiddleware } = require("sealstream-express"); require("sealstream-express/fastify").auditPlugin; require("sealstream-express/nest").auditNest; if (typeof auditMiddleware !== "function") process.exit(1)`);
  only(undefined, "import and require are one");

  const program = `
    import express from "express";
    import { AuditClient, auditErrors, auditMiddleware, describe } from "sealstream-express";
    import type { Actor, AuditEvent, Stats } from "sealstream-express";
    import { auditPlugin } from "sealstream-express/fastify";
    import { auditNest } from "sealstream-express/nest";
    const audit = new AuditClient({ url: "https://collector.example.com", key: "slk_x", source: { service: "shop" } });
    const app = express();
    app.use(auditMiddleware<express.Request>(audit, { actor: (request): Actor | undefined => request.ip ? { id: request.ip, type: "service" } : undefined }));
    app.get("/:id", (request, response) => { describe({ reason: request.params.id ?? null }); response.end(); });
    app.use(auditErrors());
    export const id: string | null = audit.log({ action: "a", resource_type: "b", resource_id: 1, result: "denied", metadata: { at: new Date() } });
    // @ts-expect-error: no result of an event
    audit.log({ action: "a", resource_type: "b", resource_id: 1, result: "fine" });
    // @ts-expect-error: a resource is needed
    audit.log({ action: "a" });
    export const plugin: unknown = [auditPlugin, auditNest];
    export const stats: Promise<Stats> = audit.close();
    export type Event = AuditEvent;
  `;
  const tsc = require.resolve("typescript/bin/tsc");
  for (const types of ["express", "express4"]) {
    const modules = join(folder, "node_modules", "@types");
    rmSync(modules, { recursive: true, force: true });
    mkdirSync(modules, { recursive: true });
    for (const each of ["node", "express"]) {
      symlinkSync(join(root, "node_modules", "@types", each === "express" ? types : each), join(modules, each));
    }
    for (const [module, resolution, file] of RESOLUTIONS.slice(0, types === "express" ? undefined : 1)) {
      writeFileSync(join(folder, file), program);
      const options = ["--noEmit", "--strict", "--esModuleInterop", "--target", "es2022", "--types", "node"];
      try {
        const once = file === "user.mts" && types === "express" ? [] : ["--skipLibCheck"]; // what is in .d.ts, once
        node(tsc, ...options, ...once, "--module", module, "--moduleResolution", resolution, file);
      } catch (error) {
        throw new Error(`${types} ${resolution} ${file}:\n${error.stdout}`);
      }
      only(`@types/${types}, ${resolution}, ${file}`, "types");
    }
  }
  if (Number(process.versions.node.split(".")[0]) >= 20) {
    const attw = join(root, "node_modules", "@arethetypeswrong", "cli", "dist", "index.js");
    node(attw, join(folder, packed.filename), "--format", "ascii");
    only(undefined, "@arethetypeswrong/cli finds nothing");
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
