#!/usr/bin/env bash
# Installs the client of the system tests that plans with us, and says what it does: upstream-client.sh FOLDER
#
# Into FOLDER, and nowhere else: task-master-ai, unchanged, out of npm's registry; 1.4 GB, one to three minutes. Its licence
# does not allow to sell it, so it is never part of what is built here. What is there already is left as it is. Where npm
# or node are missing, it says so and goes on: the tests that need the client skip themselves. Always ends with 0.
set -u

version=0.43.1
folder=${1:?FOLDER}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)

say() { echo "upstream client: $*"; }
skip() {
  say "$*; the tests with the client are skipped"
  exit 0
}

if [ "$(cat "$folder/installed" 2>/dev/null)" != "$version" ]; then
  command -v npm >/dev/null || skip "no npm here"
  node -e 'process.exit(Number(process.versions.node.split(".")[0]) >= 20 ? 0 : 1)' 2>/dev/null ||
    skip "no node 20 or newer here"
  say "installs task-master-ai $version (npm) into $folder: 1.4 GB"
  rm -f "$folder/installed"
  # Scripts of packages are not needed, so they do not run.
  if ! timeout 1800 nice -n 10 npm install --prefix "$folder" --no-audit --no-fund --ignore-scripts \
    --fetch-retries 1 --fetch-timeout 20000 "task-master-ai@$version" >"$folder/log" 2>&1; then
    tail -n 5 "$folder/log"
    skip "npm could not install task-master-ai"
  fi
  echo "$version" >"$folder/installed"
fi
say "all there: task-master-ai $version in $folder"
