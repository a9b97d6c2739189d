// Builds, and runs the tests with this Node; those that need a real collector are told of it by SEALSTREAM_TEST_URL.
import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const run = (...args) => {
  const { status } = spawnSync(process.execPath, args, { cwd: root, stdio: "inherit" });
  if (status !== 0) process.exit(status ?? 1);
};
const wanted = process.argv.slice(2);
if (process.env.SEALSTREAM_BUILT === undefined) run("scripts/build.mjs");
const files = readdirSync(new URL("../test", import.meta.url)).filter((name) => name.endsWith(".test.mjs"));
const chosen = wanted.length > 0 ? files.filter((name) => wanted.some((each) => name.startsWith(each))) : files;
run("--test", ...chosen.sort().map((name) => `test/${name}`));
