#!/usr/bin/env bash
# Shows that an operator steers a sale under load: k6 plays 3,000 people who want 1,000 seats (loadtest/ticket_open.js), while
# a real Chromium has the dashboard and the page of somebody who waits. Exit code 0: pause stopped the line within a second,
# resume let people in again, a message reached the page, and the dashboard's numbers were those of Redis and PostgreSQL.
# It takes two minutes or so, prints what it measured, and makes a picture of the dashboard at its busiest for the README.
#
#   scripts/show-opening.sh             the picture goes to docs/images/
#   scripts/show-opening.sh <folder>    the picture goes there
#
# The server, its stores, k6 and the browser are on this machine, of throw-away data, and end with the script.
set -euo pipefail
cd "$(dirname "$0")/.."

folder=$(realpath "${1:-docs/images}")
scripts/setup.sh browser k6
cargo build --release --quiet
ONSALE_BINARY=${CARGO_TARGET_DIR:-$PWD/target}/release/onsale
# A short path: unix sockets are below it.
TMPDIR=$(mktemp -d "${TMPDIR:-/tmp}/show.XXXXXX")
export TMPDIR ONSALE_BINARY
chmod 711 "$TMPDIR"
trap 'rm -rf "$TMPDIR"' EXIT
limit=()
if command -v timeout >/dev/null; then limit=(timeout --kill-after=10 330); fi
${limit[@]+"${limit[@]}"} node tests/web/opening.mjs "$folder"
