#!/usr/bin/env bash
# Holds a running server against its own description: thousands of right and wrong requests, made by
# schemathesis from /openapi.json, and all of its checks: no 5xx, only described statuses, bodies and
# header fields, every wrong input refused, every right one taken. At the end every operation must
# have succeeded at least once.
#
#   scripts/schemathesis.sh            a minute, with fixed seeds
#   SEEDS="7 8" EXAMPLES=500 scripts/schemathesis.sh
#
# The server is a throw-away one on a free port, with the demo catalogue. All that is written is in
# target/schemathesis/.
set -euo pipefail
cd "$(dirname "$0")/.."

SEEDS=${SEEDS:-1 2 3}
EXAMPLES=${EXAMPLES:-35}
root=$PWD
work=$root/target/schemathesis
scripts/setup.sh schemathesis
cargo build --quiet
mkdir -p "$work"
# Caches go where it runs.
cd "$work"

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
server=http://127.0.0.1:$port
ONSALE_LISTEN=127.0.0.1:$port ONSALE_LOG=info,onsale::http::front=debug "$root/target/debug/onsale" dev \
    --data "$work/data" --reset >server.log 2>&1 &
pid=$!
trap 'kill "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true' EXIT

until curl -fs "$server/readyz" >/dev/null; do
    kill -0 "$pid" 2>/dev/null || { cat server.log >&2; exit 1; }
    sleep 0.2
done

# A token of concert 1, once it is active; $1 is the body of the arrival.
active_token() {
    local token
    token=$(curl -fs -X POST "$server/user/token" -H 'Content-Type: application/json' -d "$1" |
        sed 's/.*"token":"\([^"]*\)".*/\1/')
    until curl -fs "$server/user/token/status" -H "Queue-Token: $token" | grep -q '"active"'; do
        sleep 0.2
    done
    echo "$token"
}

# check <token> <further options>: one run of all checks.
check() {
    local token=$1
    shift
    TOKEN=$token SCHEMATHESIS_HOOKS=$root/scripts/schemathesis_hooks.py PYTHONDONTWRITEBYTECODE=1 \
        venv/bin/st --no-color --config-file "$root/scripts/schemathesis.toml" run "$server/openapi.json" \
        --header "Queue-Token: $token" --checks all --seed "$seed" --max-examples "$EXAMPLES" \
        --phases "$phases" --continue-on-failure --exclude-path-regex '/events$' "$@"
}

# What is made from the description alone, without chance, is the same with every seed.
phases=examples,coverage,fuzzing,stateful
for seed in $SEEDS; do
    # The descriptions' examples are of user 1. Paying consumes a token and leaving ends one, so these
    # two come last; what the first run holds and charges, the second pays.
    buyer=$(active_token '{"concertId":1,"userId":1}')
    check "$buyer" --exclude-operation-id leave_line --exclude-operation-id pay_holds
    check "$buyer" --include-operation-id pay_holds
    # Not earlier: a token that nobody uses is gone after 45 s.
    check "$(active_token '{"concertId":1}')" --include-operation-id leave_line
    phases=fuzzing,stateful
done

if grep -E ' ERROR |panicked' server.log; then
    echo "the server logged an error" >&2
    exit 1
fi
curl -fs "$server/openapi.json" | python3 "$root/scripts/schemathesis_reached.py" server.log
