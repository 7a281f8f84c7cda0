#!/usr/bin/env bash
# Installs or upgrades the chart and waits until its operator has the new version.
# usage: release.sh <release> <namespace> <values file> [helm argument…]
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
release=$1 namespace=$2 values=$3
shift 3

# A helm that was killed leaves its revision pending, and every later one is refused.
kubectl get namespace "$namespace" > /dev/null 2>&1 &&
  kubectl -n "$namespace" delete secret -l "owner=helm,name=$release,status in (pending-install,pending-upgrade,pending-rollback)" > /dev/null
helm upgrade --install "$release" "$WEFT_ROOT/charts/weft" --namespace "$namespace" --create-namespace \
  --values "$values" "$@" > /dev/null
# Nothing in here needs more. Helm itself labels no namespace that it makes.
kubectl label namespace "$namespace" pod-security.kubernetes.io/enforce=restricted --overwrite > /dev/null
deployments=$(kubectl -n "$namespace" get deployments -l "app.kubernetes.io/instance=$release" -o name)
[ -n "$deployments" ] || die "the chart made no Deployment labelled app.kubernetes.io/instance=$release in $namespace"
for deployment in $deployments; do
  if ! kubectl -n "$namespace" rollout status "$deployment" --timeout=180s > /dev/null; then
    kubectl -n "$namespace" get pods -o wide >&2
    kubectl -n "$namespace" logs "$deployment" --tail=10 >&2 || true
    die "the operator ($deployment) did not start"
  fi
done
