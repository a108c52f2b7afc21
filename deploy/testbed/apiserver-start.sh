#!/usr/bin/env bash
# The API server starts again after apiserver-stop.sh
exec "$(dirname "$(realpath "$0")")/cluster.sh" apiserver-start
