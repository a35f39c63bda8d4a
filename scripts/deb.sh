#!/usr/bin/env bash
# Builds the Debian package into target/debian/ and prints its path.
#
#   scripts/deb.sh                a release build
#   PROFILE=dev scripts/deb.sh    a debug build, for a test of the package
#   REVISION=2 scripts/deb.sh     another revision of the same version
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/setup.sh deb
profile=${PROFILE:-release}
mkdir -p target/packaging
scripts/licenses.py | gzip -9n >target/packaging/LICENSES-OF-LIBRARIES.gz
cargo build --locked --profile "$profile" --bin onsale >&2
options=(--no-build --profile "$profile" --deb-revision "${REVISION:-1}" --quiet --strip)
# Only the release is worth the time of a good compression.
[ "$profile" = release ] || options+=(--fast --output "target/debian/$profile/")
mkdir -p target/debian/"$profile"
PATH=$PWD/target/tools/bin:$PATH cargo deb "${options[@]}"
