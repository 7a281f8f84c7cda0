#!/usr/bin/env bash
# The sample Stack.
# usage: sample.sh apply <namespace>
#        sample.sh wait <namespace> <stack> <values file>
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
namespace=$2
k() { kubectl --namespace "$namespace" "$@"; }

apply() {
  # The API server needs a moment until it serves a kind that was just defined.
  kubectl wait --for=condition=Established crd/stacks.weft.dev --timeout=60s > /dev/null
  kubectl apply -f "$WEFT_ROOT/k8s/stack.yaml" > /dev/null
  [ "${CLUSTER:-local}" != local ] || kubectl apply -f "$WEFT_LOCAL/sample/nodeports.yaml" > /dev/null
}

# Ready says nothing while it is about an earlier spec, or about pods of earlier images.
is_current() { # stack values
  local found wanted
  found=$(k get stack "$1" -o json) || return 1
  jq -e '.status.observedGeneration == .metadata.generation
    and any(.status.conditions[]?; .type == "Ready" and .status == "True")' <<< "$found" > /dev/null || return 1
  wanted=$(sed -n 's/^    \(broker\|authentication\|logger\|mail\|listener\|frontend\): /\1=/p' "$2")
  k get deployments -o json | jq -e --arg wanted "$wanted" '
    [.items[] | {key: .metadata.name, value: .}] | from_entries as $found
    | all($wanted | split("\n")[] | split("="); . as [$name, $image] | $found[$name] // false
        | . and any(.spec.template.spec.containers[]; .image == $image)
          and .status.observedGeneration == .metadata.generation and .status.updatedReplicas == .spec.replicas
          and .status.replicas == .spec.replicas and .status.readyReplicas == .spec.replicas)' > /dev/null
}

explain() { # stack
  say "conditions of the Stack:"
  k get stack "$1" -o json | jq -r '.status.conditions[]? | "  \(.type)=\(.status) \(.reason // ""): \(.message // "")"' >&2 || true
  say "pods that are not ready:"
  k get pods -o json | jq -r '.items[] | select(all(.status.conditions[]?; .type != "Ready" or .status != "True"))
    | "  \(.metadata.name): \(.status.phase) \([.status.containerStatuses[]?.state | to_entries[]
        | .key + " " + (.value.reason // "") + " " + (.value.message // "")] | join("; "))"' >&2 || true
  k get events --field-selector type=Warning --sort-by=.lastTimestamp 2> /dev/null | tail -n 5 >&2 || true
}

wait_ready() { # stack values
  local deadline=$((SECONDS + ${WEFT_READY_SECONDS:-300}))
  until is_current "$1" "$2" 2> /dev/null; do
    if [ "$SECONDS" -ge "$deadline" ]; then
      explain "$1"
      die "Stack $namespace/$1 is not Ready after ${WEFT_READY_SECONDS:-300} s"
    fi
    sleep 0.3
  done
}

case $1 in
  apply) apply ;;
  wait) wait_ready "$3" "$4" ;;
  *) die "usage: sample.sh apply|wait …" ;;
esac
