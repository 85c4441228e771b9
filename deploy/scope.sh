#!/usr/bin/env bash
# Prints what cargo is to build: `--workspace`, or nothing where the built-in engine cannot be compiled (it wants cmake, a
# C++ compiler and libclang); then it says so on stderr, and what needs the engine skips itself.
set -u
missing=()
for program in cmake c++; do
  command -v "$program" >/dev/null || missing+=("$program")
done
[ -n "${LIBCLANG_PATH:-}" ] || find /usr/lib -maxdepth 3 \( -name 'libclang.so*' -o -name 'libclang-[0-9]*.so*' \) | grep -q . || missing+=(libclang)
if [ ${#missing[@]} = 0 ]; then
  echo --workspace
else
  echo "engine: not built, there is no ${missing[*]}; to have it: deploy/install-tools.sh c++ cmake libclang" >&2
fi
