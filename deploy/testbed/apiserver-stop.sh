#!/usr/bin/env bash
# The API server is killed; etcd, nodes and traffic go on
exec "$(dirname "$(realpath "$0")")/cluster.sh" apiserver-stop
