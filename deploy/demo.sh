#!/usr/bin/env bash
# Three nodes on this machine, shown at work: `make demo`. Everything runs on loopback, on ports that the kernel chooses,
# in a directory that is gone afterwards; everything that was started is ended by its process id.
#
#   demo.sh                one etcd, three nodes; a node is killed in the middle of an answer
#   demo.sh --without-etcd one node with its own store; an engine is killed in the middle of an answer
#
# On a terminal it goes on until Ctrl-C, elsewhere it ends with 0 (or 1 when the answer was not whole).
set -euo pipefail
cd "$(dirname "$0")/.."

readonly TOKENS=150
readonly QUESTION='{"model":"demo","stream":true,"temperature":0,"messages":[{"role":"user","content":"Does it go on?"}]}'
dir=$(mktemp -d -t taskmaster-demo.XXXXXX)
declare -A pids=() http=() grpc=() engine_at=()

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

# start_engine NAME TIME_PER_TOKEN [ADDRESS]
start_engine() {
  start "$1" "$bin/fake-engine" --listen "${3:-127.0.0.1:0}" --speak ollama --models demo --tokens "$TOKENS" --token "$2" --slots 4
  until_true 10 "engine $1" grep -q '^listening' "$dir/$1.out"
  engine_at[$1]=$(sed -n 's/^listening on //p' "$dir/$1.out")
}

# start_node NAME [WORKER ENGINE]...
start_node() {
  local name=$1 config="$dir/$1.toml"
  shift
  {
    printf '[node]\nname = "%s"\ndata_dir = "%s"\n' "$name" "$dir/$name"
    printf '[%s]\nlisten = "127.0.0.1:0"\n' http grpc peers
    if [ -n "$etcd_url" ]; then
      printf '[store]\nkind = "etcd"\nendpoints = ["%s"]\nprefix = "/taskmaster/demo"\n' "$etcd_url"
    fi
    while [ $# != 0 ]; do
      printf '[[workers]]\nname = "%s"\nbackend = "ollama"\nurl = "http://%s"\n' "$1" "${engine_at[$2]}"
      shift 2
    done
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
# The text of an answer, whole or streamed. The words of the fake engine need no unescaping.
text_of() { grep -o '"content":"[^"]*"' | sed 's/^"content":"//; s/"$//' | tr -d '\n'; }
words_in() { grep -o '"content":" w' "$1" 2>/dev/null | wc -l; }
has_words() { [ "$(words_in "$1")" -ge "$2" ]; }

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
    note "no etcd: one node with its own store and two workers, instead of three nodes"
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
  start_engine fast 15ms
  start_engine slow 45ms
  note "two FAKE engines, one three times slower: they write numbered words, so that every byte can be checked."
  note "They stand in until the built-in engine exists; real engines of this machine are used as well, if there are any."
  if [ -n "$etcd_url" ]; then
    start_node sleeper-service fake-fast fast
    start_node nas fake-slow slow
    # The gateway comes last and has what the machine has.
    start_node grey-area
    note "found on default ports: $(sed -n 's/.*found an engine.*backend=\([^ ]*\).*/\1/p' "$dir/grey-area.err" | paste -sd' ' | sed 's/^$/no engine/')"
    until_true 20 "three nodes" sees_nodes 3
  else
    start_node grey-area fake-fast fast fake-slow slow
  fi
  until_true 20 "workers" ready_workers 2
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
  say "$asks asks, 12 at a time, over the fast and the slow worker"
  # A model that is in memory at one worker only is used there while that is quicker than loading it elsewhere.
  local worker
  for worker in $(tmctl workers | sed -nE 's#^([^ ]+/fake-(fast|slow)) .*#\1#p'); do
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

# Kills whoever answers: its node and its engine, as when a machine is switched off; or only the engine of a single node.
show_death() {
  say "One question, $TOKENS words; the worker that answers is killed on the way"
  local expected told at stream="$dir/stream" headers="$dir/headers" worker engine
  expected=$(curl -sS --max-time 60 "http://${engine_at[fast]}/v1/chat/completions" -d "${QUESTION/\"stream\":true/\"stream\":false}" | text_of)
  : >"$stream"
  curl -sSN --max-time 60 -D "$headers" "http://${http[grey-area]}/v1/chat/completions" -d "$QUESTION" >"$stream" &
  local client=$!
  pids[client]=$client
  until_true 20 "a stream" has_words "$stream" 40
  worker=$(header x-tm-worker "$headers")
  ask=$(header x-tm-ask "$headers")
  engine=${worker##*/fake-}
  lost=${worker%%/*}
  [ "$lost" = grey-area ] || kill_now "$lost"
  at=$(words_in "$stream")
  kill_now "$engine"
  note "killed worker $worker$([ "$lost" = grey-area ] || echo " with its node") after word $at"
  wait "$client" || fail "the client's stream broke"
  unset "pids[client]"
  told=$(text_of <"$stream")
  local before
  before=$(cut -d' ' -f "1-$((at + 1))" <<<"$told")
  printf '%s \033[7m[killed here]\033[0m%s\n' "$before" "${told#"$before"}" | fold -s -w 110
  [ "$told" = "$expected" ] || fail "the answer is not the expected one: $expected"
  note "whole: $(wc -w <<<"$told") words, byte for byte what the engine answers when nobody is killed"
  dead_engine=$engine
}

show_why() {
  say "tmctl explain $ask"
  tmctl explain "$ask"
  say "tmctl health"
  tmctl health || true
}

bring_back() {
  say "It comes back"
  local speed=15ms
  [ "$dead_engine" = slow ] && speed=45ms
  start_engine "$dead_engine" "$speed" "${engine_at[$dead_engine]}"
  if [ "$lost" != grey-area ]; then
    start_node "$lost" "fake-$dead_engine" "$dead_engine"
    until_true 20 "the node's return" sees_nodes 3
  fi
  until_true 20 "the worker's return" ready_workers 2
  tmctl nodes
}

say "Tools"
deploy/install-tools.sh curl cc etcd
say "Build"
cargo build -p tmd -p tmctl -p tests --bins
bin=$(cargo metadata --format-version 1 --no-deps | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')/debug

start_cluster "$@"
show_cluster
show_faces
show_balance
show_death
show_why
bring_back

say "The page: http://${http[grey-area]}/"
note "clients: OPENAI_BASE_URL=http://${http[grey-area]}/v1   OLLAMA_HOST=${http[grey-area]}"
note "admin:   $bin/tmctl --server ${grpc[grey-area]} nodes"
if [ -t 0 ] && [ -t 1 ]; then
  say "Runs until Ctrl-C"
  trap 'exit 0' INT
  wait "${pids[grey-area]}" || true
fi
say "Done"
