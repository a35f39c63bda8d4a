#!/usr/bin/env bash
# A real Prometheus scrapes a running server: the rules are right, each alert can fire, and every
# expression of the dashboard and of the alerts finds what it asks for.
#
# Server, stores and Prometheus are started here, on free ports and in a folder that is thrown away.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/setup.sh prometheus
promtool check rules docs/ops/alerts.yml
promtool test rules docs/ops/alerts.test.yml
promtool check config --syntax-only docs/ops/prometheus.yml
cargo build --quiet

# A short path: unix sockets are below it.
TMPDIR=$(mktemp -d "${TMPDIR:-/tmp}/prom.XXXXXX")
export TMPDIR
chmod 711 "$TMPDIR"
trap 'rm -rf "$TMPDIR"' EXIT
python3 scripts/prometheus_tests.py
