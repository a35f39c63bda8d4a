#!/usr/bin/env bash
# Asks Redis and PostgreSQL themselves whether a sale was right. Prints Markdown; exit code 0: it was.
#
#   check-stores.sh no-key-scans <data folder>
#   check-stores.sh all <data folder> <k6's numbers> <capacity> <seats per user>
#
# The data folder is that of a running `onsale dev`. The order matters: what Redis counts about its
# commands is read before this script lists all keys itself.
set -euo pipefail

mode=$1 data=$2
failed=0

redis() { redis-cli -s "$data/redis/redis.sock" "$@"; }
sql() { psql -X -q -A -t -v ON_ERROR_STOP=1 -h "$data/postgres" -p 5432 -U onsale -d onsale -c "$1"; }

# ok <text> <what is> <what must be>
ok() {
  if [ "$2" = "$3" ]; then
    echo "- ✓ $1 ($2)"
  else
    echo "- ✗ $1: $2, must be $3"
    failed=1
  fi
}

no_key_scans() {
  local found
  found=$(redis info commandstats | tr -d '\r' | grep -cE '^cmdstat_(keys|[hsz]?scan)[:|]' || true)
  ok 'no KEYS and no SCAN, HSCAN, SSCAN, ZSCAN in commandstats' "$found" 0
}

if [ "$mode" = no-key-scans ]; then
  no_key_scans >&2
  exit $failed
fi

numbers=$3 capacity=$4 seats_per_user=$5
if [ ! -f "$numbers" ]; then
  echo "- ✗ k6 wrote no numbers to compare with"
  exit 1
fi
counted() { sed -n "s/^$1=//p" "$numbers"; }
owners=$(counted owners) seats_owned=$(counted seats_owned)
won_charged=$(counted won_charged) won_paid=$(counted won_paid)

echo
echo '## What the stores say'
echo

# Marking payments as told to Redis happens behind the answer.
for _ in $(seq 100); do
  [ "$(sql 'select count(*) from payments where redis_synced_at is null')" != 0 ] || break
  sleep 0.1
done

echo 'PostgreSQL:'
echo
ok 'owned seats = seats that k6'\''s people own' "$(sql 'select count(*) from owned_seats')" "$seats_owned"
ok 'payments = owners that k6 counted' "$(sql 'select count(*) from payments')" "$owners"
ok "users with more than $seats_per_user seats" "$(sql "
  select count(*) from (
    select 1 from owned_seats join payments on payments.id = payment_id
    group by user_id having count(*) > $seats_per_user) as greedy")" 0
ok 'sum of all charges = what k6'\''s people charged' "$(sql 'select coalesce(sum(amount), 0) from ledger where payment_id is null')" "$won_charged"
ok 'sum of all payments = what k6'\''s people paid' "$(sql 'select coalesce(sum(total), 0) from payments')" "$won_paid"
books=$(psql -X -q -A -t -v ON_ERROR_STOP=1 -h "$data/postgres" -p 5432 -U onsale -d onsale -f "${0%/*}/../scripts/books.sql")
while IFS='|' read -r rule breaches; do ok "$rule" "$breaches" 0; done <<<"$books"
ok 'payments that Redis was not told of' "$(sql 'select count(*) from payments where redis_synced_at is null')" 0
ok 'connections left inside a transaction' "$(sql "select count(*) from pg_stat_activity where state like 'idle in transaction%'")" 0

echo
echo 'Redis:'
echo
no_key_scans
stats() { redis hget '{c1}:stats' "$1"; }
sold_bits=0
for date in $(sql 'select distinct concert_date from owned_seats where concert_id = 1'); do
  sold_bits=$((sold_bits + $(redis bitcount "{c1}:sold:$date")))
done
ok 'bits set in the sold bitmaps = owned seats' "$sold_bits" "$seats_owned"
marked=$(sql "select 'getbit {c1}:sold:' || concert_date || ' ' || seat_number from owned_seats where concert_id = 1" | redis | grep -c 1 || true)
ok 'owned seats whose bit is set' "$marked" "$seats_owned"
ok 'sold, by the counter in stats' "$(stats sold)" "$seats_owned"
now=$(redis time | head -1)000
still_held=0
for date in $(sql 'select distinct concert_date from owned_seats where concert_id = 1'); do
  still_held=$((still_held + $(redis zcount "{c1}:held:$date" "($now" '(253402300799999')))
done
ok 'seats still held' "$still_held" 0
live=$(sql "select 'exists {c1}:token:' || place from payments where concert_id = 1" | redis | grep -c '^1' || true)
ok 'tokens still live that have bought' "$live" 0
active=$(redis zcard '{c1}:active')
sum=$(redis zcard '{c1}:waiting')
for part in "$active" "$(stats expired)" "$(stats left)" "$(stats consumed)"; do sum=$((sum + ${part:-0})); done
ok 'places given = waiting + active + expired + left + consumed' "$sum" "$(stats issued)"
ok "active tokens at most $capacity" "$([ "$active" -le "$capacity" ] && echo yes || echo "$active")" yes

# Last, because it is a SCAN. All forms are in docs/redis-keys.md.
date_form='[0-9]{4}-[0-9]{2}-[0-9]{2}'
form="^\{c[0-9]+\}:(seq|waiting|dead|skipped|run|active|users|pace|epoch|rebuild|settings|stats|audit|series|servers|polls|draw|token:[0-9]+|group:[0-9a-f]{32}"
form="$form|holds:[0-9]+|paying:[0-9]+|(held|hold|sold|version):$date_form)\$"
keys=$(redis --scan)
unknown=$(printf '%s\n' "$keys" | grep -vE "$form" || true)
ok 'keys of another than a documented form, or without the tag of their concert' "${unknown:-0}" 0
echo
echo "$(printf '%s\n' "$keys" | wc -l) keys:"
echo
echo '| form | keys |'
echo '|---|--:|'
printf '%s\n' "$keys" | sed -E "s/(token|holds|paying):[0-9]+/\1:<n>/; s/group:.*/group:<id>/; s/$date_form/<date>/" |
  sort | uniq -c | awk '{ print "| `" $2 "` | " $1 " |" }'
echo
echo 'Counters (`{c1}:stats`): '"$(redis hgetall '{c1}:stats' | paste -d' ' - - | sort | paste -sd, - | sed 's/,/, /g')."
echo
echo 'Commands that Redis ran most (those inside scripts included):'
echo
echo '| command | calls | µs per call |'
echo '|---|--:|--:|'
redis info commandstats | tr -d '\r' |
  sed -nE 's/^cmdstat_([^:]*):calls=([0-9]+),usec=[0-9]+,usec_per_call=([0-9.]+),.*/\2 \1 \3/p' |
  sort -rn | head -12 | awk '{ print "| " $2 " | " $1 " | " $3 " |" }'
exit $failed
