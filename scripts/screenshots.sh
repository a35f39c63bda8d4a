#!/usr/bin/env bash
# Makes the pictures of the README anew (docs/images/): the people's page as it is while others buy, on a
# throw-away server with the demo catalogue. Needs what `scripts/setup.sh browser` installs.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/setup.sh browser
cargo build --quiet
TMPDIR=$(mktemp -d "${TMPDIR:-/tmp}/web.XXXXXX")
export TMPDIR
chmod 711 "$TMPDIR"
trap 'rm -rf "$TMPDIR"' EXIT
mkdir -p docs/images
node tests/web/screenshots.mjs docs/images
