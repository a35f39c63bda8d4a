#!/usr/bin/env bash
# Runs the fuzzers of fuzz/: what comes from outside, made up by libFuzzer, must hold what
# src/fuzzing/ says.
#
#   scripts/fuzz.sh             a minute each
#   scripts/fuzz.sh 600 token   ten minutes of one
#
# They start from the inputs in fuzz/corpus/, which every `cargo test` runs too, and from what earlier
# runs found (target/fuzz/found/). An input that shows a fault is left in target/fuzz/faults/: mend
# what it shows, and keep it in fuzz/corpus/.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/setup.sh fuzz
seconds=${1:-60}
[ $# -gt 1 ] && targets=("${@:2}") || targets=(json_body query_and_body redis_reply token)

# The compiler's hooks for fuzzers are unstable; this lets the project's own compiler have them.
export RUSTC_BOOTSTRAP=1 PATH=$PWD/target/tools/bin:$PATH
# No sanitizer: all of this is safe Rust, and it costs half the speed.
options=(--fuzz-dir fuzz --target-dir target/fuzz/build --sanitizer none)

cargo fuzz build "${options[@]}"
for target in "${targets[@]}"; do
    printf '\n== %s, %s s\n' "$target" "$seconds"
    found=target/fuzz/found/$target faults=target/fuzz/faults/$target
    mkdir -p "$found" "$faults"
    cargo fuzz run "${options[@]}" "$target" "$found" "fuzz/corpus/$target" -- \
        -max_total_time="$seconds" -max_len=2048 -timeout=5 -use_value_profile=1 \
        -print_final_stats=1 -artifact_prefix="$faults/"
done
