#!/usr/bin/env bash
# The matrix of seeded defects at full size (500 runs of each case, or as many as are asked for), into
# docs/verdict-accuracy.md. 500 take a quarter of an hour on two cores, after the build.
set -euo pipefail
cd "$(dirname "$0")/../.."
export SQUALL_DEFECT_SEEDS=${1:-500} SQUALL_DEFECT_REPORT=$PWD/docs/verdict-accuracy.md
# Optimized for this crate alone: the rest as in any test.
cargo test --locked --config profile.dev.package.squall.opt-level=2 --test defects every_defect -- --nocapture
