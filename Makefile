# Everything here runs from a fresh clone. One build profile (release) for run, test, clippy and documents, and one
# target directory: the C++ of the validation engine is built once.

SHELL := /bin/bash
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help

# Cargo's choice, if the caller made one.
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
# Arguments for `blvm run` or `bench-peers`.
ARGS ?=
export FUZZ_SECONDS ?= 60
FUZZ_TARGETS ?= segment ring message request record lease-page peer manifest config rpc

# Where scripts/step keeps its account: targets that run at the same time do not share one.
export STEP_RESULTS ?= target/steps/$(or $(firstword $(MAKECMDGOALS)),help)

PACKAGES := --workspace
# libFuzzer switches on a feature of the crate `cc`, and with another `cc` Cargo would build the validation engine a
# second time: the fuzz targets stand behind a feature and are never built together with the node.
FUZZ := -p blvm-fuzz --features libfuzzer
RELEASE := --release --locked

# Features as in `make test`, so that nothing is built twice.
MEMPOOL := cargo test $(RELEASE) $(PACKAGES) --test embedded large:: -- --nocapture
LOOM := env RUSTFLAGS="--cfg loom" LOOM_MAX_PREEMPTIONS=3 \
	cargo test $(RELEASE) -p blvm-bus --lib --target-dir target/loom
CRASH := cargo test $(RELEASE) $(PACKAGES) --test crash -- --nocapture
FOLLOW := cargo test $(RELEASE) $(PACKAGES) --test follow -- --nocapture
SOAK := cargo test $(RELEASE) $(PACKAGES) --test soak -- --nocapture
HOSTILE := cargo test $(RELEASE) $(PACKAGES) --test hostile -- --nocapture
CROWD := cargo test $(RELEASE) $(PACKAGES) --test manager -- --nocapture --exact \
	crowd::a_crowd_of_which_half_crashes_costs_the_flood_nothing_and_leaves_nothing_behind
RELOAD := cargo test $(RELEASE) $(PACKAGES) --test manager -- --nocapture --exact \
	handover::block_watch_is_reloaded_beside_a_flood_and_misses_nothing_and_reads_nothing_twice
CONSENSUS_ISOLATION := cargo test $(RELEASE) $(PACKAGES) --test consensus_isolation -- --nocapture
HOSTILE_PEERS := cargo test $(RELEASE) $(PACKAGES) --test hostile_peers -- --nocapture
DOCS := env RUSTDOCFLAGS="-D warnings" cargo doc $(RELEASE) $(PACKAGES) --no-deps
# Where threads race over slots, terms and leases; the whole of Miri takes minutes.
MIRI_SHORT := ring:: terms:: lease a_racing_subscriber

.PHONY: help
help: ## Says what there is (default)
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo '  make run ARGS="--demo --for 20s --json"   a demonstration that ends with its proof'
	@echo '  make fuzz FUZZ_SECONDS=600                longer than a minute'

.PHONY: install
install: ## Installs system packages that a build needs, where they are missing
	@scripts/install-packages

.PHONY: build
# Chosen from the whole workspace, so that features are those of `make test` and nothing is built twice.
build: install ## Builds the node, the module block-watch and the author's tool
	@cargo build $(RELEASE) $(PACKAGES) --bin blvm --bin block-watch --bin cargo-blvm-module 1>&2

.PHONY: run
run: build ## Starts a regtest node with the module block-watch; Ctrl-C ends it; ARGS="…" go to `blvm run`
	@exec $(TARGET_DIR)/release/blvm run --module sdk/examples/block-watch $(ARGS)

.PHONY: test
# The hostile module is one of the tests, and so is the soak test in its short form.
test: install ## Everything a change must pass, the seconds of each step, and a sum
	@scripts/step --begin
	@scripts/step fmt cargo fmt --all --check
	@scripts/step clippy cargo clippy $(RELEASE) $(PACKAGES) --all-targets -- -D warnings
	@scripts/step clippy-fuzz cargo clippy $(RELEASE) $(FUZZ) --all-targets -- -D warnings
	@scripts/step build cargo build $(RELEASE) $(PACKAGES)
	@scripts/step tests cargo test $(RELEASE) $(PACKAGES)
	@scripts/step first-module tests/first-module
	@scripts/step docs $(DOCS)
	@scripts/step docs-links scripts/book --check-rustdoc
	@scripts/step loom $(LOOM)
	@scripts/step miri scripts/miri $(MIRI_SHORT)
	@scripts/step demo scripts/check-demo
	@scripts/step --sum

.PHONY: loom
loom: install ## Tries every interleaving of the models of slots, terms, leases and wakes
	@scripts/step --begin
	@scripts/step loom $(LOOM)
	@scripts/step --sum

.PHONY: loom-mutants
loom-mutants: install ## Weakens each ordering in turn: a model must fail (about five minutes)
	@scripts/step --begin
	@scripts/step loom-mutants scripts/loom-mutants
	@scripts/step --sum

.PHONY: miri
miri: install ## Looks for undefined behaviour in the tests of the bus (about three minutes)
	@scripts/step --begin
	@scripts/step miri scripts/miri
	@scripts/step --sum

.PHONY: fuzz
fuzz: install ## Feeds hostile bytes to what reads them, FUZZ_SECONDS each
	@scripts/step --begin
	@scripts/step fuzz scripts/fuzz $(FUZZ_TARGETS)
	@scripts/step --sum

.PHONY: hostile
hostile: install ## A module tries to hurt the node and the other module; one JSON line per attempt
	@scripts/step --begin
	@scripts/step hostile $(HOSTILE)
	@scripts/step --sum

.PHONY: mempool-scale
mempool-scale: export BLVM_MEMPOOL_TRANSACTIONS ?= 50000
mempool-scale: install ## Blocks and reorganisations while 50,000 transactions wait; BLVM_MEMPOOL_TRANSACTIONS=50000
	@scripts/step --begin
	@scripts/step mempool-scale $(MEMPOOL)
	@scripts/step --sum

.PHONY: hostile-peers
hostile-peers: export HOSTILE_SECONDS ?= 60
hostile-peers: install ## Peers attack a real node in twelve ways at once; its memory stays bounded; HOSTILE_SECONDS=60
	@scripts/step --begin
	@scripts/step hostile-peers $(HOSTILE_PEERS)
	@scripts/step --sum

.PHONY: soak
soak: export SOAK_SECONDS ?= 600
soak: install ## Eight modules in changing roles torment a node, then 32 idle ones; SOAK_SECONDS=600, SOAK_SEED=…
	@scripts/step --begin
	@scripts/step soak $(SOAK)
	@scripts/step --sum

.PHONY: crash
crash: export CRASH_KILLS ?= 50
crash: export CRASH_MODULE_KILLS ?= 3
crash: install ## Kills a node, and its module, at random moments and checks at every start; CRASH_KILLS=50, CRASH_SEED=…
	@scripts/step --begin
	@scripts/step crash $(CRASH)
	@scripts/step --sum

.PHONY: follow
follow: export FOLLOW_KILLS ?= 200
follow: export FOLLOW_NODE_KILLS ?= 20
follow: install ## Kills a module that keeps the chain, and its node: each block's effect once; FOLLOW_KILLS=200 FOLLOW_NODE_KILLS=20
	@scripts/step --begin
	@scripts/step follow $(FOLLOW)
	@scripts/step --sum

.PHONY: crowd
crowd: export CROWD_SECONDS ?= 60
crowd: export CROWD_MODULES ?= 32
crowd: install ## Modules of which half crashes beside a flood: what the flood costs, what is left; CROWD_SECONDS=60 CROWD_MODULES=32
	@scripts/step --begin
	@scripts/step crowd $(CROWD)
	@scripts/step --sum

.PHONY: reload
reload: export RELOADS ?= 100
reload: install ## block-watch is reloaded beside 10,000 messages a second and misses none; RELOADS=100
	@scripts/step --begin
	@cargo build $(RELEASE) $(PACKAGES) --bin block-watch 1>&2
	@scripts/step reload $(RELOAD)
	@scripts/step --sum

.PHONY: consensus-isolation
consensus-isolation: export ISOLATION_SECONDS ?= 60
consensus-isolation: install ## A module asks everything there is; the chain must be that of a node it cannot reach; ISOLATION_SECONDS=60
	@scripts/step --begin
	@scripts/step consensus-isolation $(CONSENSUS_ISOLATION)
	@scripts/step --sum

.PHONY: first-module
first-module: build ## Does what docs/first-module.md says, from an empty directory to the event printed; the seconds of each step
	@scripts/step --begin
	@scripts/step first-module tests/first-module
	@scripts/step --sum

.PHONY: demo
demo: install ## Runs the demonstration and checks its proof; DEMO_SECONDS=20
	@scripts/step --begin
	@scripts/step demo scripts/check-demo
	@scripts/step --sum

.PHONY: bench
bench: install ## Micro-benchmarks
	@cargo bench --locked -p blvm-benches

.PHONY: bench-bus
bench-bus: install ## What the bus costs between processes: figures to target/bench-report/bus.jsonl (some minutes, idle machine)
	@cargo build $(RELEASE) -p blvm-benches --bin bus-bench 1>&2
	@mkdir -p $(TARGET_DIR)/bench-report
	@set -o pipefail; $(TARGET_DIR)/release/bus-bench all $(ARGS) | tee $(TARGET_DIR)/bench-report/bus.jsonl

.PHONY: bench-node
bench-node: install ## A block from the engine's callback to a module's hand, by step: to target/bench-report/node.jsonl (minutes)
	@cargo build $(RELEASE) -p blvm-node-bench 1>&2
	@mkdir -p $(TARGET_DIR)/bench-report
	@set -o pipefail; $(TARGET_DIR)/release/node-bench $(ARGS) | tee $(TARGET_DIR)/bench-report/node.jsonl

.PHONY: bench-peers
# The peers' workspace depends on ours, so its lock file may have to follow; the peers themselves are pinned by version.
bench-peers: install ## The bus against iceoryx2, ZeroMQ, tango and others; report in target/bench-report; ARGS=--quick
	@cargo build $(RELEASE) -p blvm-benches --bin bus-bench 1>&2
	@cargo build --release --manifest-path benches/baselines/Cargo.toml --target-dir $(TARGET_DIR)/baselines 1>&2
	@exec $(TARGET_DIR)/baselines/release/bench-peers --bus-bench $(TARGET_DIR)/release/bus-bench \
		--report $(TARGET_DIR)/bench-report $(ARGS)

.PHONY: docs
docs: install ## Builds the documentation: target/book/index.html, with that of the crates (first mdBook: about three minutes)
	@$(DOCS)
	@scripts/book

.PHONY: module-size
module-size: install ## What an empty module costs: packages, and the program's size; built without a C++ compiler
	@scripts/module-size

.PHONY: clean
clean: ## Removes everything built
	@cargo clean
