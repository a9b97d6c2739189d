#!/bin/sh
# The package's tests on each Node that it promises (or those named: `sh try_versions.sh 18 24`), each fetched from npm
# into a temporary folder. Says which Node was tried; fails when one fails.
set -eu
cd "$(dirname "$0")"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
node scripts/build.mjs
for version in ${*:-18 20 22 24}; do
  mkdir "$folder/$version"
  (cd "$folder/$version" && echo '{"private":true}' >package.json && npm install --no-audit --no-fund --no-package-lock --silent "node@$version")
  node="$folder/$version/node_modules/node/bin/node"
  if ! SEALSTREAM_BUILT=1 PATH="$(dirname "$node"):$PATH" "$node" scripts/test.mjs >"$folder/log" 2>&1; then
    cat "$folder/log"
    echo "not ok $("$node" --version)"
    exit 1
  fi
  echo "ok $("$node" --version): $(grep -E '^(#|ℹ) pass ' "$folder/log" | grep -oE '[0-9]+') tests, $(grep -E '^(#|ℹ) skipped ' "$folder/log" | grep -oE '[0-9]+') skipped"
done
