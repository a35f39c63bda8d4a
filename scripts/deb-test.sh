#!/usr/bin/env bash
# Builds the Debian package and lives through what a machine does with it: installs it, looks at every
# file, mode and owner, serves a sale as its account with its configuration, upgrades under the running
# server, removes, installs again and purges. Then nothing of it may be left.
#
#   scripts/deb-test.sh                a release build
#   PROFILE=dev scripts/deb-test.sh    a debug build
#
# Needs dpkg and root, and a machine that has no onsale of its own: else it says so, and does nothing.
# The stores are throw-away ones. No service manager is asked to start anything.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib/processes.sh

skip() { say "skipped: $*"; exit 0; }

[ "$(id -u)" = 0 ] || skip 'installing a package needs root'
command -v dpkg >/dev/null || skip 'this machine has no dpkg'
! dpkg-query -W onsale >/dev/null 2>&1 || skip 'onsale is installed here, and the test would purge it'
! getent passwd onsale >/dev/null || skip 'this machine has an account onsale that is not of the package'
[ ! -e /etc/onsale ] || skip 'this machine has an /etc/onsale that is not of the package'

export PROFILE=${PROFILE:-release}
case $PROFILE in dev) built=debug ;; *) built=$PROFILE ;; esac
onsale=${CARGO_TARGET_DIR:-target}/$built/onsale

scripts/setup.sh deb
first=$(scripts/deb.sh)
second=$(REVISION=2 scripts/deb.sh)
[ "$first" != "$second" ] || die "two revisions are one file, $first"

chmod 711 "$folder"

# All that this test may leave behind: nothing, but for what `man` itself keeps of a page it has shown.
everything() {
    find /etc /usr /var -xdev -iname '*onsale*' -not -path "$PWD/*" -not -path "$folder*" \
        -not -path '/var/cache/man/*' 2>/dev/null | sort
    cat /etc/passwd /etc/group
}
before=$(everything)

dev=''
put_away() {
    stop "$dev"
    ! dpkg-query -W onsale >/dev/null 2>&1 || dpkg --purge onsale >/dev/null || true
}
has() { # has <text> <what must be in it>
    case $1 in *"$2"*) ;; *) die "does not say '$2': $1" ;; esac
}

# ---- install ----

dpkg_said=$(dpkg -i "$first" 2>&1) || die "$dpkg_said"
has "$dpkg_said" 'installed, not started'
look() { # look <path> <mode owner:group>
    is "$1" "$(stat -c '%a %U:%G' "$1" 2>/dev/null || echo missing)" "$2"
}
look_at_all() {
    look /usr/bin/onsale '755 root:root'
    look /usr/lib/systemd/system/onsale.service '644 root:root'
    look /etc/onsale '755 root:root'
    look /etc/onsale/onsale.env '640 root:onsale'
    look /etc/onsale/concerts.toml '644 root:root'
    look /usr/share/man/man1/onsale.1.gz '644 root:root'
    look /usr/share/onsale/books.sql '644 root:root'
    for file in copyright LICENSE-MIT LICENSE-APACHE LICENSES-OF-LIBRARIES.gz changelog.gz README.md \
        docs/operations.md; do
        look "/usr/share/doc/onsale/$file" '644 root:root'
    done
}
look_at_all
has "$(gzip -cd /usr/share/doc/onsale/LICENSES-OF-LIBRARIES.gz)" $'\ntokio '
is 'the conffiles' "$(dpkg-query -W -f '${Conffiles}' onsale | awk 'NF { print $1 }' | sort | paste -sd' ' -)" \
    '/etc/onsale/concerts.toml /etc/onsale/onsale.env'
is 'the account' "$(getent passwd onsale | cut -d: -f6,7)" '/nonexistent:/usr/sbin/nologin'
is 'its groups' "$(id -nG onsale)" onsale
has "$(dpkg-query -W -f '${Depends}' onsale)" libc6
# Every file of the package is one that was looked at, or a document.
others=$(dpkg -L onsale | while read -r path; do [ -d "$path" ] || echo "$path"; done |
    grep -vE '^(/usr/bin/onsale|/usr/lib/systemd/system/onsale.service|/etc/onsale/[a-z.]+|/usr/share/(man/man1/onsale.1.gz|onsale/books.sql|doc/onsale/.+))$' || true)
is 'other files in the package' "$others" ''

running() { # the processes of the account
    local process
    for process in /proc/[0-9]*; do
        [ "$(stat -c %U "$process" 2>/dev/null)" != onsale ] || echo "${process#/proc/}"
    done
}
is 'processes after the installation' "$(running)" ''
unit=/usr/lib/systemd/system/onsale.service
if command -v systemd-analyze >/dev/null; then
    systemd-analyze verify "$unit" || die 'systemd would not take the unit'
    is 'the unit' "$(systemctl is-enabled onsale.service 2>/dev/null || true)" disabled
else
    say 'no systemd-analyze here: the unit is not verified'
fi
say 'installed; nothing runs'

# ---- serve, as the unit does ----

in_unit() { sed -n "s/^$1=//p" "$unit"; }
# With the account, environment and rights of the unit, as far as they can be had without systemd.
# as_service <command...>, always in a subshell of the caller's, which it replaces
as_service() {
    cd "$(in_unit WorkingDirectory)"
    # The same file is read by systemd and, as it says itself, by a shell.
    # shellcheck disable=SC2016
    exec setpriv --reuid="$(in_unit User)" --regid="$(in_unit Group)" --init-groups --no-new-privs \
        --bounding-set=-all --inh-caps=-all env -i PATH=/usr/bin:/bin \
        sh -c 'set -a; . "$0"; set +a; exec "$@"' "$(in_unit EnvironmentFile)" "$@"
}
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
is 'the version' "$(as_service onsale --version)" "onsale $version"
# shellcheck disable=SC2046 # a command with its arguments
refused=$(as_service $(in_unit ExecStart) 2>&1) && die 'it serves before it is configured' || code=$?
is 'the exit code without a configuration' "$code" "$(in_unit RestartPreventExitStatus)"
for fault in ONSALE_TOKEN_KEY_FILE ONSALE_CONCERTS ONSALE_AUTH; do has "$refused" "$fault"; done

# It sells another concert than the package's server: they share a Redis, and not a PostgreSQL.
sed 's/^id = /id = 41943/' concerts.toml >"$folder/dev.toml"
ONSALE_CONCERTS=$folder/dev.toml "$onsale" dev --data "$folder/data" --reset --listen 127.0.0.1:0 >"$folder/dev.log" 2>&1 &
dev=$!
wait_for 60 'the stores' grep -q 'Onsale serves' "$folder/dev.log"
redis=$folder/data/redis/redis.sock postgres=$folder/data/postgres
chmod 711 "$folder/data" "$folder/data/redis" "$postgres"
chmod 777 "$redis" "$postgres/.s.PGSQL.5432"
# Its own empty database: that of `onsale dev` has the schema already.
initdb=$(command -v initdb || ls -d /usr/lib/postgresql/*/bin/initdb | sort -V | tail -1)
"$(dirname "$(readlink -f "$initdb")")"/psql -qX -h "$postgres" -p 5432 -U onsale -d onsale -c 'create database package'

(umask 027 && openssl rand -hex 32 >/etc/onsale/token-key)
chgrp onsale /etc/onsale/token-key
sed 's/^#//' packaging/concerts.toml | sed -n '/^\[\[concert\]\]/,$p' | sed 's/#.*//; /_at = /d; /^prequeue/d; /^beacon/d' >/etc/onsale/concerts.toml
sed -i 's/^ONSALE_AUTH=.*/ONSALE_AUTH=trust/' /etc/onsale/onsale.env
cat >>/etc/onsale/onsale.env <<END
ONSALE_TRUST_USER_IDS=true
ONSALE_LISTEN=127.0.0.1:0
ONSALE_REDIS_URL="redis+unix://$redis"
ONSALE_DATABASE_URL="postgres://onsale@localhost/package?host=$postgres&port=5432&sslmode=disable"
END
look_at_all
doctor=$(as_service onsale check) && die 'the doctor is content without a schema'
has "$doctor" 'Mend: onsale migrate'
has "$(as_service onsale migrate)" 'The schema is up to date.'
# As the run book and the manual say it.
has "$(runuser -u onsale -- sh -c 'set -a; . /etc/onsale/onsale.env; exec "$@"' sh onsale check)" 'the schema is up to date'

# shellcheck disable=SC2046
serve() { serve_by as_service $(in_unit ExecStart); }
serve
is 'the processes of the account' "$(running)" "$server"
is 'what it may gain' "$(sed -n 's/^NoNewPrivs:\t//p' "/proc/$server/status")" 1
is 'its rights' "$(sed -n 's/^CapEff:\t//p' "/proc/$server/status")" 0000000000000000
arrive() { curl -fs -X POST "$url/user/token" -H 'Content-Type: application/json' -d '{"userId":7}'; }
token=$(arrive)
has "$token" '"concertId":1'
say "serves as uid $(id -u onsale)"

# ---- reload, upgrade under the running server, stop ----

printf '\n[[concert]]\nid = 2\nname = "Another"\ndates = ["2030-12-25"]\nseats = 5\nprice = 1\ntime_zone = "UTC"\n' \
    >>/etc/onsale/concerts.toml
# shellcheck disable=SC2034 # named in the unit
MAINPID=$server
eval "$(in_unit ExecReload)"
wait_for 5 'the catalogue is read again' grep -q 'read the catalogue again' "$folder/serve.log"

edited=$(cat /etc/onsale/onsale.env)
dpkg_said=$(dpkg -i "$second" </dev/null 2>&1) || die "$dpkg_said"
has "$dpkg_said" 'the running server is still the old one'
is 'the installed version' "$(dpkg-query -W -f '${Version}' onsale)" "$version-2"
dpkg -i "$second" </dev/null >/dev/null 2>&1 || die 'it does not install over itself'
look_at_all
look /etc/onsale/token-key '640 root:onsale'
is 'the configuration after the upgrade' "$(cat /etc/onsale/onsale.env)" "$edited"
is 'the server after the upgrade' "$(running)" "$server"
again=$(curl -fs -X POST "$url/user/token" -H 'Content-Type: application/json' -d '{"userId":7,"concertId":1}')
is 'its answer' "$(sed 's/_.*//' <<<"$again")" "$(sed 's/_.*//' <<<"$token")"

kill -s "$(in_unit KillSignal)" "$server"
begun=$SECONDS
wait "$server" || die "it stopped with exit code $?"
[ $((SECONDS - begun)) -lt "$(in_unit TimeoutStopSec)" ] || die 'systemd would have killed it'
serve
is 'the new server answers' "$(sed 's/_.*//' <<<"$(curl -fs -X POST "$url/user/token" -H 'Content-Type: application/json' \
    -d '{"userId":7,"concertId":1}')")" "$(sed 's/_.*//' <<<"$token")"
stop "$server"
server=''
say 'upgraded under the running server; the next one goes on with the line'

# ---- remove, install again, purge ----

dpkg -r onsale >/dev/null 2>&1 || die 'it cannot be removed'
for gone in /usr/bin/onsale "$unit" /usr/share/doc/onsale; do [ ! -e "$gone" ] || die "$gone is left"; done
is 'the configuration after the removal' "$(cat /etc/onsale/onsale.env)" "$edited"
dpkg -i "$first" </dev/null >/dev/null 2>&1 || die 'it cannot be installed again'
look_at_all
is 'the configuration after that' "$(cat /etc/onsale/onsale.env)" "$edited"
dpkg --purge onsale >/dev/null 2>&1 || die 'it cannot be purged'
diff <(echo "$before") <(everything) || die 'this is left of it'
say 'removed and purged; nothing is left'
