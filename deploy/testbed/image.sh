#!/usr/bin/env bash
# Pack squall's release binary, its loader and libraries into an image tar: image.sh OUT.tar [BINARY]
source "$(dirname "$(realpath "$0")")/lib.sh"
[ $# -ge 1 ] || { sed -n '2s/^# *//p' "$0" >&2; exit 2; }
out=$1 binary=${2:-$HERE/../../target/release/squall}
[ -x "$binary" ] || die "no program at $binary: cargo build --release first, or name one"
# busybox only as /bin/sh and /bin/kill: enough to look around in a pod, and for faults that signal a process.
bb=$(command -v busybox)
"$HERE/mkimg.py" --with-libraries "$out" "$IMAGE" '["/bin/squall"]' \
  "$binary=/bin/squall" "$bb=/bin/sh" "$bb=/bin/kill" "$bb=/bin/busybox"
