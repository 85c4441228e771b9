#!/usr/bin/env bash
# Three nodes on this machine, shown at work: `make demo`. Everything runs on loopback, on ports that the kernel chooses,
# in a directory that is gone afterwards; everything that was started is ended by its process id.
#
#   demo.sh                one etcd, three nodes; a node is killed in the middle of an answer
#   demo.sh --without-etcd one node with its own store; its engine is killed in the middle of an answer
#
# DEMO_FEATURES="--features …" are for cargo: whoever has built with some is shown that build.
# MODEL=FILE.gguf takes a real model for everything. Without one, a tiny test model is made that writes broken English.
# On a terminal it goes on until Ctrl-C, elsewhere it ends with 0 (or 1 when the answer was not whole).
set -euo pipefail
cd "$(dirname "$0")/.."

readonly TOKENS=200
readonly ABOUT="What happens when the engine that answers dies?"
readonly QUESTION='{"model":"demo","stream":true,"temperature":0,"max_tokens":'$TOKENS',"messages":[{"role":"user","content":"Does it go on?"}]}'
dir=$(mktemp -d -t taskmaster-demo.XXXXXX)
declare -A pids=() http=() grpc=()

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
note() { printf '  %s\n' "$*"; }
fail() {
  printf '\ndemo: %s\n' "$*" >&2
  tail -n 5 "$dir"/*.err >&2 || true
  exit 1
}

end_all() {
  local name
  for name in "${!pids[@]}"; do kill "${pids[$name]}" 2>/dev/null || true; done
  for name in "${!pids[@]}"; do
    for _ in $(seq 50); do kill -0 "${pids[$name]}" 2>/dev/null || break; sleep 0.1; done
    kill -9 "${pids[$name]}" 2>/dev/null || true
  done
  wait 2>/dev/null || true
  rm -rf "$dir"
}
trap end_all EXIT
trap 'exit 130' INT TERM

# start NAME COMMAND...: in the background; its output in $dir/NAME.out and $dir/NAME.err.
start() {
  local name=$1
  shift
  "$@" >"$dir/$name.out" 2>"$dir/$name.err" </dev/null &
  pids[$name]=$!
}

# kill_now NAME: as a power cut would.
kill_now() {
  kill -9 "${pids[$1]}"
  wait "${pids[$1]}" 2>/dev/null || true
  unset "pids[$1]"
}

# until_true SECONDS WHAT COMMAND...
until_true() {
  local tenths=$(($1 * 10)) what=$2
  shift 2
  for _ in $(seq "$tenths"); do
    "$@" && return 0
    sleep 0.1
  done
  fail "$what: not within $((tenths / 10)) s"
}

make_model() {
  mkdir "$dir/models"
  if [ -n "${MODEL:-}" ]; then
    ln -s "$(realpath "$MODEL")" "$dir/models/demo.gguf"
    note "the model is $MODEL"
  else
    "$bin/tiny-model" --kind chat --preset slow -o "$dir/models/demo.gguf" 2>/dev/null
    note "no MODEL=file.gguf was given: a TEST MODEL was made here. It writes broken English; what counts is that it is"
    note "computed for real, and that not a byte of it is lost when the machine that computes it dies."
  fi
}

# start_node NAME [own]: with `own` it has the built-in engine.
start_node() {
  local name=$1 config="$dir/$1.toml"
  shift
  {
    printf '[node]\nname = "%s"\ndata_dir = "%s"\n' "$name" "$dir/$name"
    printf '[%s]\nlisten = "127.0.0.1:0"\n' http grpc peers
    if [ -n "$etcd_url" ]; then
      printf '[store]\nkind = "etcd"\nendpoints = ["%s"]\nprefix = "/taskmaster/demo"\n' "$etcd_url"
    fi
    # The same question is asked twice, and is to be computed twice.
    printf '[cache]\nkind = "off"\n'
    # Threads that compute wait for each other by spinning: with three nodes on one machine, each gets one.
    printf '[engine]\nstores = []\nthreads = 1\n'
    if [ "${1:-}" = own ]; then
      printf 'folder = "%s"\n[[workers]]\nname = "own"\nbackend = "engine"\n' "$dir/models"
    fi
  } >"$config"
  # A node without workers looks for the engines of this machine on their default ports.
  start "$name" "$bin/tmd" --dev --config "$config"
  until_true 20 "node $name" grep -q '^ready' "$dir/$name.out"
  http[$name]=$(sed -n 's/^ready .*http=\([^ ]*\).*/\1/p' "$dir/$name.out")
  grpc[$name]=$(sed -n 's/^ready .*grpc=\([^ ]*\).*/\1/p' "$dir/$name.out")
}

tmctl() { "$bin/tmctl" --server "${grpc[grey-area]}" "$@"; }
header() { tr -d '\r' <"$2" | sed -n "s/^$1: //p"; }
ready_workers() { [ "$(tmctl workers 2>/dev/null | grep -c ' ready ')" -ge "$1" ]; }
# The text of an answer, whole or streamed, still escaped as JSON.
text_of() { grep -oE '"content":"([^"\\]|\\.)*"' | sed 's/^"content":"//; s/"$//' | tr -d '\n'; }
pieces_in() { grep -c '"content":"[^"]' "$1" 2>/dev/null || true; }
has_pieces() { [ "$(pieces_in "$1")" -ge "$2" ]; }

find_etcd() {
  [ "${1:-}" = --without-etcd ] && return
  command -v etcd && return
  # On a system with Nix a program need not be installed to be run.
  command -v nix-shell >/dev/null && nix-shell -p etcd --run 'command -v etcd' 2>/dev/null
  return 0
}

start_store() {
  local etcd
  etcd_url=
  etcd=$(find_etcd "$@")
  if [ -z "$etcd" ]; then
    note "no etcd: one node with its own store, instead of three nodes"
    return
  fi
  local any=http://127.0.0.1:0
  start etcd "$etcd" --data-dir "$dir/etcd" --listen-client-urls $any --advertise-client-urls $any \
    --listen-peer-urls $any --initial-advertise-peer-urls $any --initial-cluster default=$any --enable-grpc-gateway=false
  local serves='serving.*client.*127\.0\.0\.1:[1-9]'
  until_true 20 etcd grep -qE "$serves" "$dir/etcd.err"
  etcd_url=http://$(grep -E "$serves" "$dir/etcd.err" | grep -oE '127\.0\.0\.1:[1-9][0-9]*' | head -n 1)
  note "etcd at $etcd_url"
}

start_cluster() {
  say "Starting"
  start_store "$@"
  if [ -n "$etcd_url" ]; then
    start_node sleeper-service own
    start_node nas own
    # The gateway comes last and has what the machine has.
    start_node grey-area
    note "found on default ports: $(sed -n 's/.*found an engine.*backend=\([^ ]*\).*/\1/p' "$dir/grey-area.err" | paste -sd' ' | sed 's/^$/no engine/')"
    until_true 20 "three nodes" sees_nodes 3
    workers=2
  else
    start_node grey-area own
    workers=1
  fi
  until_true 20 "workers" ready_workers "$workers"
}
sees_nodes() { [ "$(tmctl nodes 2>/dev/null | grep -c ' alive ')" = "$1" ]; }

show_cluster() {
  say "tmctl nodes"
  tmctl nodes
  say "tmctl workers"
  tmctl workers
  say "tmctl models"
  tmctl models
}

show_faces() {
  local at=${http[grey-area]} body='"messages":[{"role":"user","content":"Hello"}]'
  say "The OpenAI face: POST http://$at/v1/chat/completions"
  curl -sS --max-time 30 "http://$at/v1/chat/completions" -d "{\"model\":\"demo\",\"max_tokens\":8,$body}"
  say "The Ollama face: POST http://$at/api/chat"
  curl -sS --max-time 30 "http://$at/api/chat" -d "{\"model\":\"demo\",\"stream\":false,\"options\":{\"num_predict\":8},$body}"
  echo
}

show_balance() {
  local asks=60
  say "$asks asks, 12 at a time"
  # A model that is in memory at one worker only is used there while that is quicker than loading it elsewhere.
  local worker
  for worker in $(tmctl workers | sed -nE 's#^([^ ]+/own) .*#\1#p'); do
    tmctl models load demo --worker "$worker"
  done
  mkdir "$dir/asks"
  seq "$asks" | xargs -P 12 -I{} curl -sS --max-time 60 -o /dev/null -D "$dir/asks/{}" "http://${http[grey-area]}/v1/chat/completions" \
    -d '{"model":"demo","max_tokens":40,"stream":true,"messages":[{"role":"user","content":"Question {}"}]}'
  local answered
  answered=$(cat "$dir"/asks/* | grep -c ' 200 ' || true)
  cat "$dir"/asks/* | tr -d '\r' | sed -n 's/^x-tm-worker: //p' | sort | uniq -c
  note "$answered of $asks answered"
  [ "$answered" = "$asks" ] || fail "some asks were not answered"
}

# The test model writes broken English, so its plan would be one: without a model of yours, the document's own structure plans.
show_plan() {
  local planner=structural
  [ -z "${MODEL:-}" ] || planner=auto
  say "tmctl projects templates nas-backup, and a plan of it"
  tmctl projects templates nas-backup >"$dir/nas-backup.md"
  tmctl plan parse "$dir/nas-backup.md" --project nas --planner $planner
  say "tmctl do \"mark 1.1 as done\""
  tmctl do --project nas --yes "mark 1.1 as done"
  say "tmctl tasks next"
  tmctl tasks next --project nas
}

# The test model writes broken English: without a model of yours, sentences as they stand in the documents answer.
ask_documents() {
  local writer=--extractive
  [ -z "${MODEL:-}" ] || [ -n "${1:-}" ] || writer=
  say "tmctl research ask ${writer:+$writer }\"$ABOUT\""
  # shellcheck disable=SC2086 # no word where there is none
  tmctl research ask $writer "$ABOUT" 2>/dev/null | tee "$dir/answer"
  grep -q '^\[1\]' "$dir/answer" || fail "the answer names no source"
}

show_research() {
  local documents=(README.md crates/README.md crates/engine/README.md tests/README.md)
  say "tmctl research add ${documents[*]}"
  tmctl research add "${documents[@]}" 2>/dev/null
  ask_documents
  tmctl research status
}

# Everything that runs models goes; what was read stays.
ask_without_engines() {
  say "The same question with every engine killed"
  local node
  for node in sleeper-service nas; do
    [ -z "${pids[$node]:-}" ] || kill_now "$node"
  done
  { pgrep -P "${pids[grey-area]}" tm-engine || true; } | xargs -r kill -9
  note "left: the node grey-area, without an engine"
  ask_documents extractive
}

# Kills whoever answers: its node with its engine, as when a machine is switched off; or only the engine of a single node.
show_death() {
  say "One question, up to $TOKENS tokens; the worker that answers is killed on the way"
  local expected told at stream="$dir/stream" headers="$dir/headers" worker
  expected=$(curl -sS --max-time 600 "http://${http[grey-area]}/v1/chat/completions" -d "${QUESTION/\"stream\":true/\"stream\":false}" | text_of)
  : >"$stream"
  curl -sSN --max-time 600 -D "$headers" "http://${http[grey-area]}/v1/chat/completions" -d "$QUESTION" >"$stream" &
  local client=$!
  pids[client]=$client
  until_true 20 "a stream" has_pieces "$stream" 10
  worker=$(header x-tm-worker "$headers")
  lost=${worker%%/*}
  if [ "$lost" = grey-area ]; then
    kill -9 "$(pgrep -P "${pids[grey-area]}" tm-engine)"
  else
    kill_now "$lost"
  fi
  at=$(pieces_in "$stream")
  ask=$(header x-tm-ask "$headers")
  note "killed $([ "$lost" = grey-area ] && echo "the engine of $worker" || echo "the machine of $worker, engine and all,") after piece $at"
  wait "$client" || fail "the client's stream broke"
  unset "pids[client]"
  told=$(text_of <"$stream")
  local before
  before=$(head -n "$(grep -n '"content":"[^"]' "$stream" | sed -n "${at}p" | cut -d: -f1)" "$stream" | text_of)
  printf '%s \033[7m[killed here]\033[0m%s\n' "$before" "${told#"$before"}" | fold -s -w 110
  [ "$told" = "$expected" ] || fail "the answer is not the expected one"
  [ "$at" -lt "$(pieces_in "$stream")" ] || fail "the answer was over before anybody was killed"
  note "whole: ${#told} characters in $(pieces_in "$stream") pieces, byte for byte what is answered when nobody is killed"
}

show_why() {
  say "tmctl explain $ask"
  tmctl explain "$ask"
  say "tmctl health"
  tmctl health || true
}

bring_back() {
  say "It comes back"
  if [ "$lost" != grey-area ]; then
    start_node "$lost" own
    until_true 20 "the node's return" sees_nodes 3
  fi
  until_true 20 "the worker's return" ready_workers "$workers"
  tmctl workers
}

say "Tools"
deploy/install-tools.sh curl cc c++ cmake libclang etcd ps
say "Build"
[ -n "$(deploy/scope.sh)" ] || fail "without the built-in engine there is nothing to show"
read -ra features <<<"${DEMO_FEATURES:-}"
cargo build --workspace --bins "${features[@]}"
bin=$(cargo metadata --format-version 1 --no-deps | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')/debug

say "Model"
make_model
start_cluster "$@"
show_cluster
show_faces
show_balance
show_plan
show_research
show_death
show_why
bring_back
ask_without_engines

say "The page: http://${http[grey-area]}/"
note "clients: OPENAI_BASE_URL=http://${http[grey-area]}/v1   OLLAMA_HOST=${http[grey-area]}"
note "admin:   $bin/tmctl --server ${grpc[grey-area]} nodes"
if [ -t 0 ] && [ -t 1 ]; then
  say "Runs until Ctrl-C"
  trap 'exit 0' INT
  wait "${pids[grey-area]}" || true
fi
say "Done"
