# shellcheck shell=bash
# What tests of whole processes share: a folder that is gone at the end, a server that is stopped, and
# words. Sourced by scripts that have `set -euo pipefail`; `put_away` may be defined anew, for what else
# must end.

script=$(basename "$0" .sh)
die() { echo "$script: $*" >&2; exit 1; }
say() { echo "$script: $*"; }
is() { [ "$2" = "$3" ] || die "$1: $2, must be $3"; } # is <what> <what it is> <what it must be>

folder=$(mktemp -d "${TMPDIR:-/tmp}/onsale-${script%-test}.XXXXXX")
server='' url=''
stop() { # stop <pid>
    [ -n "$1" ] || return 0
    kill "$1" 2>/dev/null || true
    wait "$1" 2>/dev/null || true
}
put_away() { :; }
cleanup() {
    stop "$server"
    put_away
    rm -rf "$folder"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

wait_for() { # wait_for <seconds> <what> <command...>
    local seconds=$1 what=$2
    shift 2
    for _ in $(seq $((seconds * 10))); do
        ! "$@" 2>/dev/null || return 0
        sleep 0.1
    done
    cat "$folder"/*.log >&2
    die "$what: not within $seconds s"
}
serve_by() { # serve_by <command...>: starts a server at $url, with its log in $folder/serve.log, and waits until it is ready
    : >"$folder/serve.log"
    "$@" >>"$folder/serve.log" 2>&1 &
    server=$!
    wait_for 20 'an address' grep -q 'address=127' "$folder/serve.log"
    url=http://$(sed -n 's/.*address=\(127\.0\.0\.1:[0-9]*\).*/\1/p' "$folder/serve.log" | tail -1)
    wait_for 20 'the server is ready' curl -fs -o "$folder/ready" "$url/readyz"
}
