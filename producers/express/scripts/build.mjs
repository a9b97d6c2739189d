// dist/: CommonJS by tsc, and ES modules that give its names on, so that both are one copy with one state.
import { execFileSync } from "node:child_process";
import { rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

const root = new URL("..", import.meta.url);
const require = createRequire(root);

rmSync(new URL("dist", root), { recursive: true, force: true });
execFileSync(process.execPath, [require.resolve("typescript/bin/tsc"), "-p", "tsconfig.json"], {
  cwd: fileURLToPath(root),
  stdio: "inherit",
});
for (const entry of ["index", "fastify", "nest"]) {
  const names = Object.keys(require(`./dist/${entry}.js`)).sort();
  writeFileSync(new URL(`dist/${entry}.mjs`, root), `export { ${names.join(", ")} } from "./${entry}.js";\n`);
  writeFileSync(new URL(`dist/${entry}.d.mts`, root), `export * from "./${entry}.js";\n`);
}
