# Shared by the testbed's scripts (sourced, not run): where things are, and how a process is started, found and ended.
set -euo pipefail

HERE=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
# The built programs: about 5 minutes to make, so they are kept outside the checkout.
BIN=${SQUALL_TESTBED_BIN:-${XDG_CACHE_HOME:-$HOME/.cache}/squall/kubernetes}
# Everything one cluster writes; down.sh removes it whole.
S=${SQUALL_TESTBED_STATE:-/var/lib/squall-testbed}
# What the nodes' cgroups begin with: clusters in mount namespaces of their own (each with its own /run/netns,
# /var/log/pods and state folder) still share the cgroup tree.
CG=${SQUALL_TESTBED_CGROUP:-}
CLIENT_NS=kcp
IMAGE=testbed.local/squall:dev

say() { printf '  %s\n' "$*"; }
die() { printf 'testbed: %s\n' "$*" >&2; exit 1; }
inns() { local ns=$1; shift; nsenter --net=/run/netns/"$ns" "$@"; }
kc() { KUBECONFIG=$S/kubeconfig inns $CLIENT_NS kubectl "$@"; }

# alive NAME: the process that start recorded still runs. Its start time tells it from a recycled pid; a zombie is dead.
alive() {
  [ -f "$S/pid/$1" ] || return 1
  local pid ticks stat; read -r pid ticks <"$S/pid/$1"
  stat=$(cat "/proc/$pid/stat" 2>/dev/null) || return 1
  set -- ${stat##*) }
  [ "$1" != Z ] && [ "${20}" = "$ticks" ]
}

# start NAMESPACE NAME COMMAND...: in the background, in its own session, output to log/NAME.log.
start() {
  local ns=$1 name=$2; shift 2
  setsid nsenter --net=/run/netns/"$ns" "$@" >>"$S/log/$name.log" 2>&1 </dev/null &
  local pid=$! stat; stat=$(cat "/proc/$pid/stat"); set -- ${stat##*) }
  echo "$pid ${20}" >"$S/pid/$name"
}

# stop NAME [SIGNAL=TERM]: ends it and waits; SIGKILL when it has not ended after 5 s.
stop() {
  local name=$1 signal=${2:-TERM} pid ticks i
  if alive "$name"; then
    read -r pid ticks <"$S/pid/$name"
    kill -"$signal" "$pid" 2>/dev/null || true
    for i in $(seq 100); do alive "$name" || break; sleep 0.05; done
    if alive "$name"; then kill -KILL "$pid" 2>/dev/null || true; fi
    for i in $(seq 40); do alive "$name" || break; sleep 0.05; done
  fi
  rm -f "$S/pid/$name"
}

# wait_for SECONDS WHAT COMMAND...: until the command succeeds; says what it waited for in vain.
wait_for() {
  local end=$(($(date +%s) + $1)) what=$2; shift 2
  until "$@" >/dev/null 2>&1; do
    [ "$(date +%s)" -lt "$end" ] || die "timed out waiting for $what (logs are in $S/log)"
    sleep 0.2
  done
}

# What the bed cannot do without, said all at once.
check_machine() {
  local missing=()
  [ "$(id -u)" = 0 ] || missing+=("root: nodes are network namespaces and their containers need cgroups")
  [ "$(uname -m)" = x86_64 ] || missing+=("an x86-64 machine (this is $(uname -m))")
  [ -f /etc/debian_version ] || missing+=("Debian: the cluster is built from its source package")
  [ -d /sys/fs/cgroup/memory ] || missing+=("cgroup v1 controllers under /sys/fs/cgroup: the kubelet of 1.20 is run with the cgroupfs driver")
  [ ${#missing[@]} = 0 ] && return
  echo "testbed: this machine cannot run it; missing:" >&2
  printf '  - %s\n' "${missing[@]}" >&2
  exit 1
}
