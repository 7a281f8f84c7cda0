#!/usr/bin/env bash
# `make down`: ends and erases what `make up` made. The cache of tools and images stays: it is what makes the next one fast.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
case ${CLUSTER:-local} in
  local) step "node" "$WEFT_LOCAL/node.sh" down ;;
  current)
    # The sample's namespace is in that file, and its volumes and Secrets go with it.
    kubectl delete -f "$WEFT_ROOT/k8s/stack.yaml" --ignore-not-found
    helm uninstall weft --namespace weft-system --ignore-not-found
    kubectl delete namespace weft-system --ignore-not-found
    kubectl delete crd stacks.weft.dev --ignore-not-found
    ;;
  *) die "CLUSTER is 'local' or 'current', not '$CLUSTER'" ;;
esac
