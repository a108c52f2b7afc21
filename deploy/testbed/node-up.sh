#!/usr/bin/env bash
# Node N comes back after node-down.sh: node-up.sh N
exec "$(dirname "$(realpath "$0")")/cluster.sh" node-up "$@"
