#!/usr/bin/env bash
# Everything that a change must pass. Installs what the tests need where it can (Debian, as root), and says what
# is skipped where it cannot; in CI (CI=true) a test that cannot run is a failure.
set -euo pipefail
cd "$(dirname "$0")/.."

need() { # need PROGRAM PACKAGE
  command -v "$1" >/dev/null || missing+=("$2")
}
missing=()
need cc gcc
need chromium chromium
need nginx nginx-light
need haproxy haproxy
if [ ${#missing[@]} -gt 0 ]; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing: ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -q >/dev/null
    apt-get install -y -q --no-install-recommends "${missing[@]}" >/dev/null
  else
    echo "not installed: ${missing[*]} (only root on Debian can install them here); their tests will be skipped" >&2
  fi
fi
[ "${CI:-}" != true ] || export SQUALL_TESTS_MUST_RUN=1

cargo fmt --check
cargo clippy --locked --all-targets -- -D warnings
RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --lib --quiet
[ "${SQUALL_TESTBED:-}" = 1 ] ||
  echo "SKIPPED: the tests against a real Kubernetes cluster; SQUALL_TESTBED=1 runs them (root on Debian, 10 minutes more)"
cargo test --locked --quiet --no-fail-fast
