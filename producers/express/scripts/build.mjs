// dist/: CommonJS by tsc, and ES modules that give its names on, so that both are one copy with one state. Made beside
// the old one, which it then replaces: what runs meanwhile finds one or the other.
import { execFileSync } from "node:child_process";
import { existsSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

const root = new URL("..", import.meta.url);
const require = createRequire(root);
const made = new URL(`dist.new-${process.pid}/`, root);
const old = new URL(`dist.old-${process.pid}`, root);
const dist = new URL("dist", root);

execFileSync(
  process.execPath,
  [require.resolve("typescript/bin/tsc"), "-p", "tsconfig.json", "--outDir", fileURLToPath(made)],
  { cwd: fileURLToPath(root), stdio: "inherit" },
);
for (const entry of ["index", "fastify", "nest"]) {
  const names = Object.keys(require(fileURLToPath(new URL(`${entry}.js`, made)))).sort();
  writeFileSync(new URL(`${entry}.mjs`, made), `export { ${names.join(", ")} } from "./${entry}.js";\n`);
  writeFileSync(new URL(`${entry}.d.mts`, made), `export * from "./${entry}.js";\n`);
}
if (existsSync(dist)) renameSync(dist, old);
renameSync(made, dist);
rmSync(old, { recursive: true, force: true });
