#!/usr/bin/env bash
# The test cluster with the demo shop in it, with one command. Run again, it renews image and shop and keeps the cluster.
#   up.sh [--nodes N] [--binary PATH] [--no-shop]
# Root, Debian and 3 GB of memory; builds Kubernetes on its first run (5 minutes). down.sh ends it.
source "$(dirname "$(realpath "$0")")/lib.sh"
nodes=2 binary=$HERE/../../target/release/squall shop=yes
while [ $# -gt 0 ]; do
  case $1 in
    --nodes) nodes=$2; shift 2 ;;
    --binary) binary=$(realpath "$2"); shift 2 ;;
    --no-shop) shop=no; shift ;;
    *) sed -n '2,4s/^# *//p' "$0" >&2; exit 2 ;;
  esac
done
check_machine
if [ $shop = yes ] && [ ! -x "$binary" ]; then
  command -v cargo >/dev/null || die "no program at $binary, and no cargo to build it with"
  say "building squall"
  (cd "$HERE/../.." && cargo build --release --quiet)
fi
"$HERE/build.sh"
mkdir -p "$(dirname "$S")"
exec 9>"$S.lock"; flock 9

if "$HERE/cluster.sh" status 9>&-; then
  say "cluster runs already"
else
  # What an interrupted start or a reboot left would only be in the way.
  "$HERE/cluster.sh" down 9>&-
  say "starting etcd, API server, controllers and $nodes nodes"
  "$HERE/cluster.sh" up "$nodes" 9>&-
  # A run started before the client's own kube-proxy has its rules would go by a port-forward.
  api=https://$(kc get service kubernetes -o 'jsonpath={.spec.clusterIP}')
  wait_for 60 "Services to be reached from the client" inns $CLIENT_NS curl -sk -m 2 -o /dev/null "$api/livez"
fi

if [ $shop = yes ]; then
  tar=$(mktemp -d)/squall.tar; trap 'rm -rf "$(dirname "$tar")"' EXIT
  "$HERE/image.sh" "$tar" "$binary"
  digest=$(sha256sum <"$tar" | cut -c1-12)
  if [ "$(cat "$S/image.digest" 2>/dev/null)" != "$digest" ]; then
    say "loading the image of $binary"
    "$HERE/cluster.sh" load "$tar" 9>&-
    echo "$digest" >"$S/image.digest"
  fi
  say "applying the demo shop"
  manifests=$(kc kustomize "$HERE/../kubernetes/shop")
  # Debian's 1.20 serves disruption budgets as v1beta1 only; their fields are the same.
  kc get --raw /apis/policy/v1 >/dev/null 2>&1 || manifests=${manifests//apiVersion: policy\/v1$'\n'/apiVersion: policy\/v1beta1$'\n'}
  # A new image under the same name must be rolled out: the digest in the template makes it a change.
  manifests=${manifests//squall.local\/image: unknown/squall.local\/image: \"$digest\"}
  kc apply -f - <<<"$manifests" >/dev/null
  for d in front catalog cart; do kc -n shop rollout status deployment/$d --timeout=120s >/dev/null || die "deployment $d did not become ready: kubectl -n shop describe pods"; done
  # The client's own kube-proxy hears of the endpoints a moment later.
  front=http://$(kc -n shop get service front -o 'jsonpath={.spec.clusterIP}')
  wait_for 30 "the front to answer at $front" inns $CLIENT_NS curl -sf -m 2 "$front/products"
  say "shop: $(kc -n shop get pods --no-headers | grep -c ' Running ') pods run; front is at $front"
fi
cat <<T
The cluster is up. Its network is in namespaces of its own; a client runs in namespace $CLIENT_NS:
  export KUBECONFIG=$S/kubeconfig
  nsenter --net=/run/netns/$CLIENT_NS kubectl get pods -A -o wide
End it with $HERE/down.sh
T
