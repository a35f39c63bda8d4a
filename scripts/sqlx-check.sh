#!/usr/bin/env bash
# Checks that .sqlx/ (what PostgreSQL said about every `query!`, so that a build needs no database)
# belongs to the statements in src/ and to migrations/. With --write it is made anew instead.
#
# Starts a throw-away PostgreSQL in a temporary folder and stops it again. As root it runs as the
# account `postgres`, because PostgreSQL refuses root.
set -euo pipefail
cd "$(dirname "$0")/.."

mode=check
case "${1:-}" in
  --write) mode=write ;;
  "") ;;
  *) echo "usage: $0 [--write]" >&2; exit 2 ;;
esac

initdb=$(command -v initdb || ls -d /usr/lib/postgresql/*/bin/initdb /opt/homebrew/opt/postgresql*/bin/initdb 2>/dev/null | sort -V | tail -1)
# The programs stand beside the real initdb, not beside a link to it.
bin=$(dirname "$(readlink -f "$initdb")")
if [ ! -x "$bin/initdb" ]; then
  echo "PostgreSQL's initdb was not found: run 'make setup'" >&2
  exit 1
fi

folder=$(mktemp -d "${TMPDIR:-/tmp}/sqlx-check.XXXXXX")
as_owner=()
if [ "$(id -u)" = 0 ]; then
  chown postgres "$folder"
  as_owner=(setpriv --reuid=postgres --regid=postgres --clear-groups)
fi
run() { (cd "$folder" && "${as_owner[@]}" "$@"); }
stop() {
  run "$bin/pg_ctl" -D "$folder/data" -m immediate stop >/dev/null 2>&1 || true
  rm -rf "$folder"
}
trap stop EXIT
run "$bin/initdb" -D "$folder/data" -U onsale -A trust -E UTF8 --locale=C >/dev/null
run "$bin/pg_ctl" -D "$folder/data" -l "$folder/log" -w start \
  -o "-k $folder -c listen_addresses= -c fsync=off" >/dev/null || { cat "$folder/log" >&2; exit 1; }
for migration in migrations/*.sql; do
  run "$bin/psql" -h "$folder" -U onsale -d postgres -qX -v ON_ERROR_STOP=1 -1 <"$migration"
done

# The macros write the data themselves when they have a database and a folder. Touching the file
# makes the compiler expand them again; a query in tests/ is not allowed to need .sqlx.
mkdir "$folder/queries"
if [ "$(id -u)" = 0 ]; then chown root "$folder/queries"; fi
touch src/lib.rs
env -u SQLX_OFFLINE SQLX_OFFLINE_DIR="$folder/queries" \
  DATABASE_URL="postgres://onsale@localhost/postgres?host=$folder&sslmode=disable" \
  cargo check --quiet --lib
touch src/lib.rs

if [ "$mode" = write ]; then
  rm -rf .sqlx
  mkdir .sqlx
  cp "$folder"/queries/*.json .sqlx/
  echo "wrote $(ls .sqlx | wc -l) queries to .sqlx/"
elif ! diff -r "$folder/queries" .sqlx; then
  echo ".sqlx/ does not belong to this source: run scripts/sqlx-check.sh --write and commit it" >&2
  exit 1
else
  echo ".sqlx/ is up to date ($(ls .sqlx | wc -l) queries)"
fi
