#!/usr/bin/env bash
# After Skaffold's Helm deploy: the sample Stack, until it runs the images of this deploy.
# Skaffold's status check knows nothing of a Stack, and a Ready from before this deploy says nothing about it.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
export CLUSTER=current
"$WEFT_LOCAL/sample.sh" apply shop
installed=$(mktemp)
trap 'rm -f "$installed"' EXIT
kubectl -n weft-system get configmap weft-operator -o jsonpath='{.data.installation\.yaml}' > "$installed"
"$WEFT_LOCAL/sample.sh" wait shop shop "$installed"
