#!/usr/bin/env bash
# Node N loses its power: link cut, kubelet, kube-proxy and containers killed: node-down.sh N
exec "$(dirname "$(realpath "$0")")/cluster.sh" node-down "$@"
