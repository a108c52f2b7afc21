#!/usr/bin/env bash
# End the test cluster and leave nothing of it behind; the built programs stay in their cache.
source "$(dirname "$(realpath "$0")")/lib.sh"
[ "$(id -u)" = 0 ] || die "root is needed: the cluster's namespaces and mounts are root's"
exec 9>"$S.lock" 2>/dev/null || exit 0
flock 9
"$HERE/cluster.sh" down 9>&-
rm -f "$S.lock"
say "ended"
