#!/usr/bin/env bash
# Build the five Kubernetes programs from Debian's own source package: build.sh [OUT_DIR]
# OUT_DIR is ~/.cache/squall/kubernetes when not given. About 5 minutes on 2 cores, 7 GB of disk while building.
# Does nothing where OUT_DIR holds them and what they need is installed.
# Debian bookworm: kubernetes 1.20.2, etcd 3.4, containerd 1.6, runc 1.1, golang 1.19.
source "$(dirname "$(realpath "$0")")/lib.sh"
out=$(realpath -m "${1:-$BIN}")
# Another way of building them is another number: what was built before is built again.
edition=3
programs=(kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy)
check_machine
export DEBIAN_FRONTEND=noninteractive

installed() { dpkg-query -W -f '${db:Status-Status}\n' "$@" 2>/dev/null | grep -qv '^installed$' && return 1; dpkg-query -W "$@" >/dev/null 2>&1; }
built() { [ -e "$out/edition-$edition" ] || return 1; for p in "${programs[@]}"; do [ -x "$out/$p" ] || return 1; done; }
need=(etcd-server containerd runc containernetworking-plugins iptables ipset conntrack iproute2 ethtool socat busybox-static openssl curl)
command -v kubectl >/dev/null || need+=(kubernetes-client)
if ! installed "${need[@]}"; then
  say "installing ${need[*]}"
  apt-get update -q >/dev/null
  apt-get install -y -q --no-install-recommends "${need[@]}" >/dev/null
fi
built && exit 0

# Two builds at once would take twice as long and end the same.
mkdir -p "$(dirname "$out")"
exec 9>"$out.lock"; flock 9
built && exit 0

say "building Kubernetes into $out: about 5 minutes, once a machine"
apt-get update -q >/dev/null
apt-get install -y -q --no-install-recommends golang-go golang-github-modern-go-reflect2-dev rsync make gcc libc6-dev dpkg-dev >/dev/null
work=$(mktemp -d -p "$(dirname "$out")" build.XXXXXX)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
cd "$work"
mkdir -p lists/partial cache/archives/partial
# A deb-src line of its own, taken from the machine's configured Debian mirror.
mirror=$(sed -n 's/^URIs: *//p' /etc/apt/sources.list.d/debian.sources 2>/dev/null | head -n 1)
[ -n "$mirror" ] || mirror=$(awk '$1=="deb"{for(i=2;i<=NF;i++)if($i~/^http/){print $i;exit}}' /etc/apt/sources.list)
[ -n "$mirror" ] || die "no Debian mirror is configured in /etc/apt"
echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror bookworm main" > sources.list
apt=(apt-get -q -o Dir::Etc::sourcelist="$work/sources.list" -o Dir::Etc::sourceparts=- -o Dir::State::lists="$work/lists" -o Dir::Cache="$work/cache" -o APT::Sandbox::User=root)
"${apt[@]}" update
"${apt[@]}" source --download-only kubernetes
mkdir -p src gopath/src/k8s.io
tar xzf kubernetes_*.orig.tar.gz -C src --strip-components=1
ln -s "$work/src" gopath/src/k8s.io/kubernetes
cd gopath/src/k8s.io/kubernetes
# Its own copy of reflect2 knows the maps of Go up to 1.17: with a later one the API server dies of each custom resource.
reflect2=vendor/github.com/modern-go/reflect2
rm $reflect2/*.go $reflect2/*.s
cp /usr/share/gocode/src/github.com/modern-go/reflect2/*.{go,s} $reflect2/
# Ephemeral containers are an alpha feature of 1.20, whose endpoint takes an object of a kind of its own. With this it takes a
# pod, as 1.22 and later do. Where the feature is off, as it is unless asked for, there is no such endpoint.
patch -p1 --silent <"$HERE/ephemeral-containers.patch"
# The 1.20 tree predates Go modules' current vendor checks: build it the way its own Makefile does, in GOPATH mode.
GOPATH=$work/gopath GOCACHE=$work/gocache CGO_ENABLED=0 KUBE_BUILD_PLATFORMS=linux/amd64 \
  nice make all WHAT="${programs[*]/#/cmd/}"
mkdir -p "$out"
# Under another name first: an interrupted copy must not look like a finished build.
for p in "${programs[@]}"; do cp "_output/local/bin/linux/amd64/$p" "$out/.$p"; mv "$out/.$p" "$out/$p"; done
touch "$out/edition-$edition"
