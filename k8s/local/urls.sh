#!/usr/bin/env bash
# `make urls`: NAME=value lines for the sample that `make up` runs.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
"$WEFT_LOCAL/node.sh" status > /dev/null || die "the node is not up: run 'make up' ('k8s/local/node.sh status' tells what is missing)"
echo BROKER_URL=http://127.0.0.1:30080
echo JAEGER_URL=http://127.0.0.1:30686
"$WEFT_LOCAL/node.sh" env
echo NAMESPACE=shop
echo STACK=shop
