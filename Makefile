# What people run; each target says what it installs. `make test` is all that CI runs.

# The daemon's test build has an admin call that makes it fail on purpose; one set of features for all of these spares builds.
FEATURES := --features tmd/faults,tmd/qdrant
# All crates, or all but the built-in engine where it cannot be compiled. Asked when it is used: `tools` comes first.
SCOPE = $(shell deploy/scope.sh)
TARGET := $(or $(CARGO_TARGET_DIR),target)
# Real engines for the system tests, in a folder that `rm -r` ends.
FOREIGN := $(TARGET)/foreign-engines
# The client that plans with us, for the same.
UPSTREAM := $(TARGET)/upstream-client

.PHONY: demo test lint deny bench soak tools reference

demo: ## Three nodes on this machine, shown at work; one is killed in the middle of an answer
	deploy/demo.sh

test: tools lint ## Everything that CI runs
	deploy/foreign-engines.sh $(FOREIGN)
	deploy/upstream-client.sh $(UPSTREAM)
	cargo build $(SCOPE) --bins $(FEATURES)
	@if cargo nextest --version >/dev/null 2>&1; then run="nextest run"; else run=test; fi; \
	  set -x; cargo $$run $(SCOPE) --no-fail-fast $(FEATURES)
	DEMO_FEATURES="$(FEATURES)" deploy/demo.sh </dev/null

# The second one is what is released, but for a clock of tokio's that tests stop: so its crates are checked once.
lint: ## Formatting and clippy, without a warning
	cargo fmt --all --check
	cargo clippy $(SCOPE) --all-targets $(FEATURES) -- -D warnings
	cargo clippy $(SCOPE) --bins --features tmd/test-clock -- -D warnings

reference: ## The reference of the gRPC services in deploy/api.md, out of the protos
	cargo run -p proto --example reference -- proto deploy/api.md

deny: ## Licences, crates and sources of everything that is built in, as deny.toml allows them; wants cargo-deny
	@cargo deny --version >/dev/null 2>&1 || { echo "no cargo-deny here: cargo install cargo-deny --locked" >&2; exit 1; }
	cargo deny check bans licenses sources

bench: ## Cost of the gateway beside nginx, of a routing decision, of an event, of the built-in engine; writes tests/bench/RESULTS.md
	deploy/install-tools.sh nginx cc c++ cmake libclang
	cargo build --release $(SCOPE) --bins
	mkdir -p tests/bench
	$(TARGET)/release/bench --write tests/bench/RESULTS.md
	cargo bench -p routing --bench route
	cargo bench -p inference --bench wire
	cargo bench -p planner --bench plan --bench tasks --bench trees
	cargo bench -p research --bench vectors
	cargo bench -p research --bench library
	deploy/retrieval-bench.sh $(TARGET)/retrieval-bench $(TARGET)/release ../shared/retrieval
	cargo bench -p tests --bench plans
	[ -z "$(SCOPE)" ] || cargo bench --workspace --bench engine

soak: tools ## Full counts of crash and fault runs; takes an hour or more, and compiles llama-server
	deploy/foreign-engines.sh $(FOREIGN) llama-server
	deploy/upstream-client.sh $(UPSTREAM)
	cargo build $(SCOPE) --bins $(FEATURES)
	TM_STORE_CRASHES=1000 TM_STORE_CUTS=1000 cargo test -p store --release -- --nocapture every_acknowledged_write
	TM_JOB_CRASHES=50 cargo test -p jobs --release -- --nocapture instant
	TM_GRAPHS=10000 TM_PROJECT_CRASHES=200 TM_PLAN_CRASHES=50 cargo test -p planner --release -- --nocapture
	TM_VECTOR_CRASHES=1000 TM_LIBRARY_CRASHES=200 cargo test -p research --release --test it -- --nocapture acknowledged
	TM_FUZZ_SECONDS=600 cargo test -p inference --release --test it -- --nocapture broken_files
	TM_SOAK=1 cargo test -p tests -- --nocapture --test-threads=1

tools:
	@deploy/install-tools.sh curl cc c++ cmake libclang etcd redis-server nginx ip nft ps python3-venv nix-instantiate systemd-analyze chromium script prometheus shellcheck
