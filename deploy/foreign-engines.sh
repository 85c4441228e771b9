#!/usr/bin/env bash
# Installs real engines for the system tests, and says what it does: foreign-engines.sh FOLDER [llama-server]
#
# Into FOLDER, and nowhere else: the server of llama-cpp-python, on a llama.cpp that npm has built; no compiler, a minute
# or two. With the word `llama-server` also llama.cpp's own server, compiled: ten minutes of a processor. What is there
# already is left as it is. Where pip, npm or what they ask are not there, it says so and goes on: the tests that need a
# missing engine skip themselves. Always ends with 0.
set -u

python_server=0.3.36 # of llama-cpp-python; this and the next are built from the same llama.cpp
library=3.22.1       # of @node-llama-cpp/linux-x64
folder=${1:?FOLDER}
wanted=${2:-}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)

say() { echo "foreign engines: $*"; }
skip() {
  say "$*; the tests with real engines are skipped"
  exit 0
}

# Runs a command with its output in a file, of which a failure shows the end.
quietly() {
  if timeout 1800 nice -n 10 "$@" >"$folder/log" 2>&1; then return 0; fi
  tail -n 5 "$folder/log"
  return 1
}

pip() { quietly "$folder/venv/bin/python" -m pip --disable-pip-version-check --timeout 20 --retries 1 "$@"; }

install_python_server() {
  [ "$(uname -s)-$(uname -m)" = Linux-x86_64 ] || skip "npm has no llama.cpp for $(uname -s)-$(uname -m)"
  command -v npm >/dev/null || skip "no npm here"
  python3 -c 'import venv, ensurepip' 2>/dev/null || skip "no python3 with venv here"
  say "installs llama-cpp-python[server] $python_server (pip) and @node-llama-cpp/linux-x64 $library (npm) into $folder"
  quietly python3 -m venv --clear "$folder/venv" || skip "could not make a virtual environment"
  # Without its own llama.cpp there is nothing to compile.
  CMAKE_ARGS=-DLLAMA_BUILD=OFF pip install "llama-cpp-python[server]==$python_server" ||
    skip "pip could not install llama-cpp-python"
  mkdir -p "$folder/npm"
  quietly npm install --prefix "$folder/npm" --no-audit --no-fund --ignore-scripts --omit=optional \
    --fetch-retries 1 --fetch-timeout 20000 "@node-llama-cpp/linux-x64@$library" ||
    skip "npm could not install @node-llama-cpp/linux-x64"
  local libraries
  libraries=$("$folder/venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/llama_cpp/lib
  mkdir -p "$libraries"
  cp "$folder"/npm/node_modules/@node-llama-cpp/linux-x64/bins/linux-x64/lib*.so "$libraries/" ||
    skip "the package of npm has no libraries"
  for name in llama ggml; do
    ln -sf "$(basename "$(ls "$libraries"/lib$name.v*.so)")" "$libraries/lib$name.so"
  done
}

install_llama_server() {
  say "builds llama-server out of the sources of llama-cpp-python $python_server: ten minutes of a processor"
  pip install cmake ninja || skip "pip could not install cmake and ninja"
  command -v c++ >/dev/null || skip "no C++ compiler here"
  local build=$folder/build
  rm -rf "$build"
  mkdir -p "$build"
  pip download --no-deps --no-binary llama-cpp-python --dest "$build" "llama-cpp-python==$python_server" ||
    skip "pip could not fetch the sources"
  tar -xzf "$build"/llama_cpp_python-*.tar.gz -C "$build" --strip-components 1 || skip "the sources are damaged"
  # Little optimisation: the models are tiny, and compiling takes longer than all that they ever say.
  PATH="$folder/venv/bin:$PATH" quietly cmake -G Ninja -S "$build/vendor/llama.cpp" -B "$build/out" \
    -DCMAKE_BUILD_TYPE=Release -DCMAKE_C_FLAGS_RELEASE="-O1 -DNDEBUG" -DCMAKE_CXX_FLAGS_RELEASE="-O1 -DNDEBUG" \
    -DLLAMA_OPENSSL=OFF -DLLAMA_USE_PREBUILT_UI=OFF -DBUILD_SHARED_LIBS=OFF || skip "could not configure llama.cpp"
  PATH="$folder/venv/bin:$PATH" quietly cmake --build "$build/out" --target llama-server ||
    skip "could not compile llama-server"
  cp "$build/out/bin/llama-server" "$folder/llama-server"
  rm -rf "$build"
}

# What was installed says so at its end only: half of it is none.
versions="$python_server $library"
if [ "$(cat "$folder/installed" 2>/dev/null)" != "$versions" ]; then
  rm -f "$folder/installed"
  install_python_server
  echo "$versions" >"$folder/installed"
fi
if [ "$wanted" = llama-server ] && [ ! -x "$folder/llama-server" ]; then
  install_llama_server
fi
say "all there: llama-cpp-python $python_server$([ -x "$folder/llama-server" ] && echo ", llama-server") in $folder"
