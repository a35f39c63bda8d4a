#!/usr/bin/env bash
# Loses PostgreSQL in the middle of a sale and brings it back, as docs/operations.md says: from a base
# backup and the archived log (nothing is lost), and from a dump (what came after it is lost). Then asks
# whether the books balance, and whether the servers sell on rightly, also on an emptied Redis.
#
#   scripts/restore-test.sh                  a debug build
#   PROFILE=release scripts/restore-test.sh
#
# Everything is in a temporary folder; as root PostgreSQL runs as the account `postgres`.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib/processes.sh

profile=${PROFILE:-dev}
case $profile in dev) built=debug ;; *) built=$profile ;; esac
onsale=$(realpath "${CARGO_TARGET_DIR:-target}")/$built/onsale
books=$PWD/scripts/books.sql
scripts/setup.sh
cargo build --quiet --profile "$profile" --bin onsale

initdb=$(command -v initdb || ls -d /usr/lib/postgresql/*/bin/initdb /opt/homebrew/opt/postgresql*/bin/initdb 2>/dev/null | sort -V | tail -1)
PATH=$(dirname "$(readlink -f "$initdb")"):$PATH

as_owner=()
if [ "$(id -u)" = 0 ]; then
    chown postgres "$folder"
    as_owner=(setpriv --reuid=postgres --regid=postgres --clear-groups)
fi
run() { (cd "$folder" && "${as_owner[@]}" "$@"); }
redis=''
put_away() {
    stop "$redis"
    run pg_ctl -D "$folder/data" -m immediate stop >/dev/null 2>&1 || true
}

# ---- the stores, and a sale ----

run initdb -D "$folder/data" -U onsale -A trust -E UTF8 --locale=C >/dev/null
run mkdir "$folder/archive"
run tee -a "$folder/data/postgresql.conf" >/dev/null <<END
unix_socket_directories = '$folder'
listen_addresses = ''
archive_mode = on
archive_command = 'test ! -f $folder/archive/%f && cp %p $folder/archive/%f'
END
start_postgres() {
    run pg_ctl -D "$folder/data" -l "$folder/postgres.log" -w start >/dev/null || { cat "$folder/postgres.log" >&2; exit 1; }
}
start_postgres
export PGHOST=$folder PGUSER=onsale
run createdb onsale
sql() { psql -X -q -A -t -v ON_ERROR_STOP=1 "$@"; }

redis-server --port 0 --unixsocket "$folder/redis.sock" --dir "$folder" --appendonly yes >"$folder/redis.log" &
redis=$!
cat >"$folder/concerts.toml" <<END
[[concert]]
id = 1
name = "A"
dates = ["2099-12-24"]
seats = 20
price = 50000
time_zone = "UTC"
END
export ONSALE_REDIS_URL=redis+unix://$folder/redis.sock ONSALE_CONCERTS=$folder/concerts.toml
export ONSALE_TRUST_USER_IDS=true ONSALE_LISTEN=127.0.0.1:0 ONSALE_DATABASE_CONNECTIONS=4
ONSALE_TOKEN_KEY=$(openssl rand -hex 32)
export ONSALE_TOKEN_KEY
database() { # database <name>: from now on
    export ONSALE_DATABASE_URL="postgres://onsale@localhost/$1?host=$folder&sslmode=disable" PGDATABASE=$1
}
serve() { serve_by "$onsale" serve; }
ask() { # ask <method> <path> <token or ''> [body]: the answer, and its status as the last line
    local method=$1 path=$2 token=$3
    shift 3
    [ $# = 0 ] || set -- -H 'Content-Type: application/json' -d "$1"
    curl -s -w '\n%{http_code}\n' -X "$method" "$url$path" ${token:+-H "Queue-Token: $token"} "$@"
}
status_of() { tail -1 <<<"$1"; }
field() { sed -n "s/.*\"$1\":\"\{0,1\}\([^\",}]*\).*/\1/p" <<<"$2" | head -1; }
active_token() { # active_token <user>
    local token
    token=$(field token "$(ask POST /user/token '' "{\"userId\":$1}")")
    for _ in $(seq 100); do
        ! ask GET /user/token/status "$token" | grep -q '"active"' || { echo "$token"; return; }
        sleep 0.2
    done
    die "user $1 is not let in"
}
hold() { # hold <token> <user> <seat>
    ask POST /concert/reserve "$1" "{\"userId\":$2,\"seatNumber\":$3}"
}
declare -A token payment
buy() { # buy <user>: the seat of the same number
    local answer
    token[$1]=$(active_token "$1")
    answer=$(hold "${token[$1]}" "$1" "$1")
    is "the hold of $1" "$(status_of "$answer")" 201
    answer=$(ask POST /payment/charge "${token[$1]}" "{\"userId\":$1,\"amount\":60000}")
    is "the charge of $1" "$(status_of "$answer")" 200
    answer=$(ask POST /payment "${token[$1]}" "{\"userId\":$1}")
    is "the payment of $1" "$(status_of "$answer")" 200
    payment[$1]=$(field paymentId "$answer")
}
books_balance() {
    local breaches
    breaches=$(sql -f "$books" | grep -v '|0$' || true)
    is 'the rules of the books that are broken' "$breaches" ''
}
sold() { sql -c 'select count(*) from owned_seats'; }
sold_to() { # sold_to <user>: its seat is refused to everybody else, its payment is answered again
    local answer
    answer=$(hold "$stranger" 100 "$1")
    is "the seat of $1" "$(status_of "$answer") $(field code "$answer")" '409 seat-sold'
    answer=$(ask POST /payment "${token[$1]}" "{\"userId\":$1}")
    is "the payment of $1, asked for again" "$(status_of "$answer") $(field paymentId "$answer")" "200 ${payment[$1]}"
}

database onsale
"$onsale" migrate >/dev/null
serve
for user in 1 2 3; do buy "$user"; done
say '3 seats are sold'

# ---- the backups, while the sale goes on ----

run pg_basebackup -h "$folder" -U onsale -D "$folder/base" --checkpoint=fast
run pg_dump -h "$folder" -U onsale --format=custom --file="$folder/onsale.dump" onsale
for user in 4 5; do buy "$user"; done
holder=$(active_token 101)
is 'the hold of somebody who has not paid' "$(status_of "$(hold "$holder" 101 10)")" 201
stranger=$(active_token 100)
last=$(sql -c 'select pg_walfile_name(pg_switch_wal())')
wait_for 10 'the log is archived' test -f "$folder/archive/$last"
books_balance
is 'seats sold' "$(sold)" 5
say 'base backup, dump, and 2 seats more'

# ---- PostgreSQL is lost; back from the base backup and the archive ----

run pg_ctl -D "$folder/data" -m immediate stop >/dev/null
is 'a payment without PostgreSQL' "$(status_of "$(ask POST /payment "$holder" '{"userId":101}')")" 503
stop "$server"
rm -rf "$folder/data"

run cp -a "$folder/base" "$folder/data"
run tee -a "$folder/data/postgresql.conf" >/dev/null <<<"restore_command = 'cp $folder/archive/%f %p'"
run touch "$folder/data/recovery.signal"
start_postgres
wait_for 30 'PostgreSQL is restored' sh -c "psql -XAt -c 'select pg_is_in_recovery()' | grep -qx f"
books_balance
is 'seats sold, restored from the log' "$(sold)" 5
serve
for user in 1 2 3 4 5; do sold_to "$user"; done
answer=$(ask POST /payment/charge "$holder" '{"userId":101,"amount":60000}')
is 'the charge of the holder' "$(status_of "$answer")" 200
answer=$(ask POST /payment "$holder" '{"userId":101}')
is "the holder's payment" "$(status_of "$answer")" 200
say 'restored from base backup and log: nothing was lost, the holder has paid'

# ---- lost again; back from the dump ----

stop "$server"
run createdb onsale_restored
run pg_restore -h "$folder" -U onsale --exit-on-error --single-transaction --no-owner --dbname=onsale_restored "$folder/onsale.dump"
database onsale_restored
sql -c analyze
books_balance
is 'seats sold, restored from the dump' "$(sold)" 3
"$onsale" migrate >/dev/null
serve
stranger=$(active_token 100)
for user in 1 2 3; do sold_to "$user"; done
# PostgreSQL does not know of these sales, so their seats are for sale again.
wait_for 5 'the marks of lost sales are cleared' grep -q 'cleared: 3' "$folder/serve.log"
answer=$(hold "$stranger" 100 4)
is 'a seat whose sale was lost' "$(status_of "$answer")" 201
say 'restored from the dump: the 3 sales after it are lost, and their seats for sale again'

# ---- and Redis is lost, too ----

stop "$server"
redis-cli -s "$folder/redis.sock" flushall >/dev/null
serve
stranger=$(active_token 100)
for user in 1 2 3; do sold_to "$user"; done
buy 6
books_balance
is 'seats sold in the end' "$(sold)" 4
say 'on an emptied Redis: the same seats are sold, and the sale goes on'
