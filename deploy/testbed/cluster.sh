#!/usr/bin/env bash
# A real Kubernetes cluster on one machine, every node in a network namespace of its own.
#   cluster.sh up [NODES=2]      real etcd, apiserver, controller-manager, scheduler; per node containerd, kubelet, kube-proxy
#   cluster.sh down              end it, leave nothing behind
#   cluster.sh status            exit 0 when it runs
#   cluster.sh load IMAGE.tar    an image for every node, now and after node-up
#   cluster.sh node-down N       node N loses its power: link cut, kubelet, proxy and all containers killed
#   cluster.sh node-up N         and comes back
#   cluster.sh apiserver-stop    the API server ends; etcd, nodes and traffic go on
#   cluster.sh apiserver-start
# Nothing in it can reach anything off the machine: the namespaces have no way out.
#   kcp (10.200.0.1)   control plane, and where a client runs: nsenter --net=/run/netns/kcp COMMAND
#   kn1 (10.200.0.11)  node n1, pods 10.244.1.0/24;  kn2 (10.200.0.12)  node n2, pods 10.244.2.0/24; ...
# Services are 10.96.0.0/16; a kube-proxy in kcp makes them reachable for the client too.
# Learnt the hard way, keep: nsenter, not `ip netns exec` (that hides /sys/fs/cgroup); restrict_oom_score_adj
# (no CAP_SYS_RESOURCE here); one cgroup root per kubelet (kubelets remove pod cgroups they do not know).
source "$(dirname "$(realpath "$0")")/lib.sh"
usage() { sed -n '3,10s/^# *//p' "$0" >&2; exit 2; }
[ $# -ge 1 ] || usage
cmd=$1; shift

netns() { # the namespaces, the bridge between them and the routes to each node's pods
  local i j
  ip netns list | grep -qE '^k(cp|n[0-9]+)( |$)' && die "network namespaces of another cluster exist (ip netns list): end that one first"
  echo kcp >$S/netns
  ip netns add kcp; inns kcp ip link set lo up
  inns kcp ip link add br0 type bridge; inns kcp ip addr add 10.200.0.1/24 dev br0; inns kcp ip link set br0 up
  inns kcp ip route add default dev br0
  inns kcp sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.route_localnet=1
  for i in $(seq "$NODES"); do
    echo kn$i >>$S/netns
    ip netns add kn$i; inns kn$i ip link set lo up
    ip link add kv$i netns kcp type veth peer name eth0 netns kn$i
    inns kcp ip link set kv$i master br0 up
    inns kn$i ip addr add 10.200.0.1$i/24 dev eth0; inns kn$i ip link set eth0 up
    inns kn$i ip route add default via 10.200.0.1
    inns kn$i sysctl -qw net.ipv4.ip_forward=1 net.bridge.bridge-nf-call-iptables=1 net.ipv4.conf.all.route_localnet=1
    inns kcp ip route add 10.244.$i.0/24 via 10.200.0.1$i
  done
  for i in $(seq "$NODES"); do for j in $(seq "$NODES"); do
    [ $i = $j ] || inns kn$i ip route add 10.244.$j.0/24 via 10.200.0.1$j
  done; done
}

pki() {
  local P=$S/pki; mkdir -p "$P"
  openssl genrsa -out $P/sa.key 2048 2>/dev/null; openssl rsa -in $P/sa.key -pubout -out $P/sa.pub 2>/dev/null
  openssl req -x509 -newkey rsa:2048 -nodes -keyout $P/ca.key -out $P/ca.crt -days 3650 -subj /CN=testbed-ca \
    -addext keyUsage=critical,keyCertSign,digitalSignature 2>/dev/null
  openssl req -newkey rsa:2048 -nodes -keyout $P/api.key -out $P/api.csr -subj /CN=kube-apiserver 2>/dev/null
  openssl x509 -req -in $P/api.csr -CA $P/ca.crt -CAkey $P/ca.key -CAcreateserial -days 3650 -out $P/api.crt \
    -extfile <(echo "subjectAltName=IP:10.200.0.1,IP:10.96.0.1,IP:127.0.0.1,DNS:kubernetes.default.svc") 2>/dev/null
  # how the apiserver shows itself to the kubelets (exec, logs, stats)
  openssl req -newkey rsa:2048 -nodes -keyout $P/kubelet-client.key -out $P/kubelet-client.csr -subj /O=system:masters/CN=kube-apiserver-kubelet-client 2>/dev/null
  openssl x509 -req -in $P/kubelet-client.csr -CA $P/ca.crt -CAkey $P/ca.key -CAcreateserial -days 3650 -out $P/kubelet-client.crt 2>/dev/null
  # aggregation layer (metrics.k8s.io is served by an extension API server)
  openssl req -x509 -newkey rsa:2048 -nodes -keyout $P/front.key -out $P/front.crt -days 3650 -subj /CN=front-proxy 2>/dev/null
  echo 'admin-token,admin,admin,"system:masters"' >$P/tokens.csv
  cat >$S/kubeconfig <<K
apiVersion: v1
kind: Config
clusters: [{name: testbed, cluster: {server: "https://10.200.0.1:6443", certificate-authority-data: "$(base64 -w0 $P/ca.crt)"}}]
users: [{name: admin, user: {token: admin-token}}]
contexts: [{name: testbed, context: {cluster: testbed, user: admin}}]
current-context: testbed
K
}

apiserver() {
  start kcp apiserver $BIN/kube-apiserver --etcd-servers=http://127.0.0.1:2379 --bind-address=10.200.0.1 --advertise-address=10.200.0.1 \
    --tls-cert-file=$S/pki/api.crt --tls-private-key-file=$S/pki/api.key --cert-dir=$S/pki --service-cluster-ip-range=10.96.0.0/16 \
    --authorization-mode=RBAC --token-auth-file=$S/pki/tokens.csv --service-account-issuer=https://kubernetes.default.svc \
    --service-account-key-file=$S/pki/sa.pub --service-account-signing-key-file=$S/pki/sa.key --allow-privileged=true --kubelet-preferred-address-types=InternalIP \
    --kubelet-client-certificate=$S/pki/kubelet-client.crt --kubelet-client-key=$S/pki/kubelet-client.key \
    --requestheader-client-ca-file=$S/pki/front.crt --requestheader-allowed-names= --requestheader-extra-headers-prefix=X-Remote-Extra- \
    --requestheader-group-headers=X-Remote-Group --requestheader-username-headers=X-Remote-User \
    --proxy-client-cert-file=$S/pki/front.crt --proxy-client-key-file=$S/pki/front.key ${APISERVER_ARGS:-}
  wait_for 60 "the API server" inns kcp curl -skf -H "Authorization: Bearer admin-token" https://10.200.0.1:6443/readyz
}

node() { # node I: containerd, its images, kubelet, kube-proxy
  local i=$1 N=$S/n$1; mkdir -p $N/cni
  cat >$N/cni/10-pods.conflist <<C
{"cniVersion":"0.4.0","name":"pods","plugins":[{"type":"bridge","bridge":"cni0","isGateway":true,"ipMasq":false,"hairpinMode":true,
"ipam":{"type":"host-local","dataDir":"$N/ipam","ranges":[[{"subnet":"10.244.$i.0/24"}]],"routes":[{"dst":"0.0.0.0/0"}]}}]}
C
  cat >$N/containerd.toml <<C
version = 2
root = "$N/containerd/root"
state = "$N/containerd/run"
[grpc]
  address = "$N/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "testbed.local/pause:1"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$N/cni"
C
  cat >$N/kubelet.yaml <<C
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $S/pki/ca.crt}}
authorization: {mode: Webhook}
cgroupDriver: cgroupfs
cgroupRoot: /${CG}kn$i
failSwapOn: false
nodeStatusUpdateFrequency: 2s
evictionHard: {memory.available: "50Mi", nodefs.available: "1%", imagefs.available: "1%"}
imageGCHighThresholdPercent: 100
# Of no effect while the API server does not have them.
featureGates: {EphemeralContainers: true}
${KUBELET_YAML:-}
C
  local c; for c in /sys/fs/cgroup/*/; do mkdir -p $c${CG}kn$i
    [ -f ${c}cpuset.cpus ] && { cat ${c}cpuset.cpus >$c${CG}kn$i/cpuset.cpus; cat ${c}cpuset.mems >$c${CG}kn$i/cpuset.mems; }; true; done
  # A mount namespace a node: the kubelet's logs are always in /var/log/pods, and each kubelet removes there what
  # it does not know, the other nodes' logs among it.
  mkdir -p $N/logs
  start kn$i containerd$i unshare --mount --propagation slave sh -c "mount --bind $N/logs /var/log/pods && exec containerd -c $N/containerd.toml"
  wait_for 30 "containerd of n$i" ctr -a $N/containerd.sock version
  local t; for t in "$S"/images/*.tar; do import $i "$t"; done
  local pid ticks; read -r pid ticks <$S/pid/containerd$i
  start kn$i kubelet$i nsenter --mount=/proc/$pid/ns/mnt $BIN/kubelet --kubeconfig=$S/kubeconfig --config=$N/kubelet.yaml --root-dir=$N/kubelet \
    --container-runtime=remote --container-runtime-endpoint=unix://$N/containerd.sock --hostname-override=n$i --node-ip=10.200.0.1$i \
    --cert-dir=$N/pki --node-labels=topology.kubernetes.io/zone=z$i ${KUBELET_ARGS:-}
  start kn$i proxy$i $BIN/kube-proxy --kubeconfig=$S/kubeconfig --proxy-mode=iptables --hostname-override=n$i --conntrack-max-per-core=0 ${PROXY_ARGS:-}
}

import() { ctr -a "$S/n$1/containerd.sock" -n k8s.io images import "$2" >/dev/null; }
nodes() { sed -n 's/^kn//p' $S/netns 2>/dev/null || true; }
node_ready() { [ "$(kc get node n$1 -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}' 2>/dev/null)" = "$2" ]; }
containers() { ctr -a $S/n$1/containerd.sock -n k8s.io tasks ls -q 2>/dev/null || true; }
kill_containers() { # every container of node I, at once
  local c i
  for c in $(containers $1); do ctr -a $S/n$1/containerd.sock -n k8s.io tasks kill -s KILL $c 2>/dev/null || true; done
}
no_containers_run() { ! ctr -a $S/n$1/containerd.sock -n k8s.io tasks ls 2>/dev/null | grep -q RUNNING; }

case $cmd in
up)
  NODES=${1:-2}
  check_machine
  mkdir -p /var/log/pods
  [ -x $BIN/kubelet ] || die "no Kubernetes programs in $BIN: run $HERE/build.sh first"
  [ -e $S/kubeconfig ] && die "a cluster's state is in $S already: cluster.sh down first"
  mkdir -p $S/{log,pid,etcd,images}
  # What was there before stays when the cluster ends: CNI and kubelet name things outside the state folder.
  ip netns list | awk '/^cni-/{print $1}' >$S/before.netns
  ls -d /var/log/pods/* /var/log/containers/* >$S/before.logs 2>/dev/null || true
  netns; pki
  "$HERE"/mkimg.py $S/images/pause.tar testbed.local/pause:1 '["/bin/busybox","sleep","2147483647"]' /bin/busybox=/bin/busybox
  start kcp etcd etcd --data-dir $S/etcd --unsafe-no-fsync
  wait_for 30 etcd inns kcp curl -sf http://127.0.0.1:2379/health
  apiserver
  start kcp controller-manager $BIN/kube-controller-manager --kubeconfig=$S/kubeconfig --authentication-kubeconfig=$S/kubeconfig \
    --authorization-kubeconfig=$S/kubeconfig --leader-elect-resource-lock=leases --leader-elect-lease-duration=10m --leader-elect-renew-deadline=9m --service-account-private-key-file=$S/pki/sa.key --root-ca-file=$S/pki/ca.crt \
    --cluster-cidr=10.244.0.0/16 --node-monitor-grace-period=10s --horizontal-pod-autoscaler-sync-period=${HPA_SYNC:-5s} --cert-dir=$S/pki
  start kcp scheduler $BIN/kube-scheduler --kubeconfig=$S/kubeconfig --authentication-kubeconfig=$S/kubeconfig \
    --authorization-kubeconfig=$S/kubeconfig --leader-elect=false --cert-dir=$S/pki
  start kcp proxy0 $BIN/kube-proxy --kubeconfig=$S/kubeconfig --proxy-mode=iptables --hostname-override=client --conntrack-max-per-core=0 ${PROXY_ARGS:-}
  for i in $(seq $NODES); do node $i; done
  for i in $(seq $NODES); do wait_for 60 "node n$i to be Ready" node_ready $i True; done
  ;;
status)
  alive apiserver && alive etcd && kc get --raw /readyz >/dev/null 2>&1
  ;;
load)
  [ $# = 1 ] || usage
  cp "$1" $S/images/
  for i in $(nodes); do import $i "$1"; done
  ;;
node-down)
  set -- "${1#n}"
  [ $# = 1 ] && [ -d $S/n$1 ] || usage
  # The link first: a machine without power answers nothing, not even with a reset.
  inns kcp ip link set kv$1 down
  for k in kubelet$1 proxy$1; do stop $k KILL; done
  kill_containers $1
  wait_for 20 "the containers of n$1 to end" no_containers_run $1
  ;;
node-up)
  set -- "${1#n}"
  [ $# = 1 ] && [ -d $S/n$1 ] || usage
  inns kcp ip link set kv$1 up
  stop containerd$1
  for k in kubelet$1 proxy$1; do stop $k KILL; done
  node $1
  wait_for 90 "node n$1 to be Ready" node_ready $1 True
  ;;
apiserver-stop)
  # Killed, not asked: a graceful stop keeps old watches open for a while.
  stop apiserver KILL
  ;;
apiserver-start)
  alive apiserver || apiserver
  ;;
down)
  [ -d $S ] || exit 0
  set +e
  for k in $(ls $S/pid 2>/dev/null | grep -vE '^(containerd|etcd)'); do stop $k KILL; done
  for i in $(nodes); do
    alive containerd$i || continue
    kill_containers $i
    for _ in $(seq 50); do no_containers_run $i && break; sleep 0.1; done
    # deleting a task ends its shim, which nothing else would
    for c in $(containers $i); do ctr -a $S/n$i/containerd.sock -n k8s.io tasks delete -f $c >/dev/null 2>&1; done
  done
  for k in $(ls $S/pid); do stop $k; done
  # Shims whose containerd was gone are known by the socket they were given.
  for p in /proc/[0-9]*; do
    tr '\0' ' ' <$p/cmdline 2>/dev/null | grep -q -- "^[^ ]*containerd-shim[^ ]* .*-address $S/n" && kill -KILL ${p#/proc/}
  done
  awk -v s="$S/" 'index($2,s)==1{print $2}' /proc/mounts | sort -r | xargs -r -n1 umount -l
  for ns in $(ip netns list | awk '/^cni-/{print $1}' | grep -vxF -f $S/before.netns); do ip netns del $ns; done
  ls -d /var/log/pods/* /var/log/containers/* 2>/dev/null | grep -vxF -f $S/before.logs | xargs -r rm -rf
  for ns in $(cat $S/netns 2>/dev/null); do
    ip netns del $ns
    for c in /sys/fs/cgroup/*/$CG$ns; do [ -d $c ] && find $c -depth -type d -exec rmdir {} + 2>/dev/null; done
  done
  rm -rf "$S"
  [ ! -e "$S" ] || die "could not remove $S"
  ;;
*) usage ;;
esac
