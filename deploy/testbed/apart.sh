#!/usr/bin/env bash
# Run a command that has a test cluster of its own, beside whatever other runs on this machine; down.sh ends it with the command.
#   apart.sh NAME COMMAND...       e.g. apart.sh two bash, and in it up.sh
# The names of network namespaces and the kubelet's log folders are fixed: the command gets a mount namespace in which
# they are its own. Only what the command starts can reach its cluster.
source "$(dirname "$(realpath "$0")")/lib.sh"
[ $# -ge 2 ] || { sed -n '2,3s/^# *//p' "$0" >&2; exit 2; }
check_machine
name=$1; shift
if [ "${APART:-}" != "$name" ]; then
  mkdir -p /run/netns /var/log/pods /var/log/containers /var/lib/cni /run/containerd
  export APART=$name SQUALL_TESTBED_STATE=$S-$name SQUALL_TESTBED_CGROUP=$name- KUBECONFIG=$S-$name/kubeconfig
  exec unshare --mount --propagation private "$0" "$name" "$@"
fi
for folder in /run/netns /var/log/pods /var/log/containers; do mount -t tmpfs apart "$folder"; done
trap '"$HERE/down.sh" >/dev/null' EXIT
"$@"
