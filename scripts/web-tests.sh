#!/usr/bin/env bash
# Drives a real Chromium over the pages of a running server: every tests/web/*.test.mjs, or those named.
#
#   scripts/web-tests.sh
#   scripts/web-tests.sh tests/web/page.test.mjs
#
# Each file starts servers of its own (`onsale dev`, free port, throw-away stores). Nothing may be left
# running at the end.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/setup.sh browser k6
cargo build --quiet

# A short path: unix sockets are below it.
TMPDIR=$(mktemp -d "${TMPDIR:-/tmp}/web.XXXXXX")
export TMPDIR
chmod 711 "$TMPDIR"
trap 'rm -rf "$TMPDIR"' EXIT

# Each test has a deadline of its own; this one is for a run that hangs between them.
limit=()
if command -v timeout >/dev/null; then limit=(timeout --kill-after=10 400); fi

files=("$@")
if [ $# = 0 ]; then files=(tests/web/*.test.mjs); fi
for file in "${files[@]}"; do
    ${limit[@]+"${limit[@]}"} node --test "$file"
done

for _ in 1 2 3 4 5 6 7 8 9 10; do
    left=$(pgrep -fl "$TMPDIR" || true)
    [ -n "$left" ] || exit 0
    sleep 1
done
echo "left running:" >&2
echo "$left" >&2
exit 1
