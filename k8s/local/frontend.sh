#!/usr/bin/env bash
# `make start` and `make stop`: brings the sample's front end back, or takes it away, by an edit of the Stack, and waits until
# it is so. `make up` brings it back too: k8s/stack.yaml says that it runs.
# usage: frontend.sh start|stop
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
NAMESPACE=shop STACK=shop

case ${1:-} in
  start) enabled=true ;;
  stop) enabled=false ;;
  *) die "usage: frontend.sh start|stop" ;;
esac
if [ "${CLUSTER:-local}" = local ]; then
  settings=$("$WEFT_LOCAL/node.sh" env)
  export KUBECONFIG PATH
  KUBECONFIG=$(sed -n 's/^KUBECONFIG=//p' <<< "$settings")
  PATH=$(sed -n 's/^BIN=//p' <<< "$settings"):$PATH
  "$WEFT_LOCAL/node.sh" status > /dev/null || die "the node is not up: run 'make up'"
fi
k() { kubectl --namespace "$NAMESPACE" "$@"; }

# The Stack speaks of this edit, and its pods are there and ready, or gone.
is_so() {
  k get stack "$STACK" -o json | jq -e '.status.observedGeneration == .metadata.generation
    and any(.status.conditions[]?; .type == "Ready" and .status == "True")' > /dev/null || return 1
  k get pods -l app.kubernetes.io/name=frontend -o json | jq -e --argjson enabled "$enabled" '
    if $enabled then any(.items[]; any(.status.conditions[]?; .type == "Ready" and .status == "True"))
    else .items == [] end' > /dev/null
}

patch=$(jq -cn --argjson enabled "$enabled" '{spec: {services: {frontend: {enabled: $enabled}}}}')
k patch stack "$STACK" --type=merge --patch "$patch" > /dev/null || die "there is no Stack $NAMESPACE/$STACK: run 'make up'"
step "front end ($1)" await "the front end's $1" 180 is_so
