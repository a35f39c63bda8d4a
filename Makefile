# The commands a person needs; `make` alone lists them.
#
# Every target sets up what it needs first, so that each works on a fresh machine.

.DEFAULT_GOAL := help
.PHONY: help setup run test test-web check bench loadtest loadtest-crash faults fuzz mutants deb

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Install what is missing: Redis, PostgreSQL
	@scripts/setup.sh

run: setup ## Build and serve on 127.0.0.1:8080 with private stores (ARGS="--reset" empties them)
	cargo run --release -- dev $(ARGS)

test: ## Run all tests, on throw-away stores
	@scripts/setup.sh clocks
	cargo test --features crash-points $(ARGS)

test-web: setup ## The people's page in a real Chromium; installs what is missing (Node.js, Chromium)
	@scripts/web-tests.sh

check: ## Run everything that a change must pass: tests, format, lints, docs, a short load test
	@scripts/setup.sh lua k6 browser
	.ci/run

bench: ## Every route beside the limits of HTTP, Redis and PostgreSQL (about 15 min; ARGS="--quick --rounds 1": 3 min)
	@scripts/setup.sh k6
	cargo bench --bench sale -- $(ARGS)

loadtest: ## 3,000 people for 50 seats; installs k6 when it is missing (SMOKE=1 a short one, SAVE=1 keeps the report)
	@scripts/setup.sh k6
	loadtest/run.sh

loadtest-crash: ## The same with kill -9 in the middle (CRASH=server, redis or postgres: of that alone; else of all)
	@scripts/setup.sh k6
	CRASH=$(or $(CRASH),all) loadtest/run.sh

faults: setup ## A sale under faults, judged by what everybody was told (SEED=1, MINUTES=10, TOPOLOGY=alone, replica, sentinel or cluster)
	cargo test --features crash-points --test faults -- \
		--seed $(or $(SEED),1) --minutes $(or $(MINUTES),10) --topology $(or $(TOPOLOGY),alone)

fuzz: setup ## Made-up input against what must hold, each fuzzer for a minute (SECONDS=60; the first build takes some)
	scripts/fuzz.sh $(or $(SECONDS),60)

mutants: setup ## Servers without one protection each, which `make faults` must find (about 20 min; ONLY=owner-check,capacity)
	cargo test --features mutants --test faults -- --mutants $(or $(ONLY),all)

deb: ## Build the Debian package, target/debian/onsale_*.deb (the first build of cargo-deb takes a minute)
	scripts/deb.sh
