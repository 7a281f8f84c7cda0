#!/usr/bin/env bash
# `make up`: from nothing, or from whatever a killed run left, to a Ready Stack. Every step is repeatable.
# CLUSTER=current REGISTRY=<where to push> make up: the cluster that kubectl points to, instead of a node here.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
NAMESPACE=shop STACK=shop RELEASE=weft RELEASE_NAMESPACE=weft-system

# What Cargo has compiled of this workspace; what it has of others stays.
forget_programs() {
  local names
  mapfile -t names < <(cargo metadata --format-version 1 --no-deps --offline --manifest-path "$WEFT_ROOT/Cargo.toml" |
    jq -r '.packages[].name')
  cargo clean --quiet --release --manifest-path "$WEFT_ROOT/Cargo.toml" "${names[@]/#/--package=}"
}

case ${CLUSTER:-local} in
  local)
    step "Debian packages" "$WEFT_LOCAL/packages.sh" dev node
    step "tools" "$WEFT_LOCAL/tools/build.sh" > /dev/null
    step "node" "$WEFT_LOCAL/node.sh" up
    compile=()
    for name in broker authentication logger mail listener frontend weft-operator; do compile+=(--bin "$name"); done
    [ "${WEFT_COMPILE_ANEW:-}" != 1 ] || step "old programs away" forget_programs
    step "compile" cargo build --quiet --release --locked --manifest-path "$WEFT_ROOT/Cargo.toml" "${compile[@]}"
    step "images" "$WEFT_LOCAL/images.sh"
    values=$WEFT_STATE/values.yaml
    settings=$("$WEFT_LOCAL/node.sh" env)
    export KUBECONFIG PATH
    KUBECONFIG=$(sed -n 's/^KUBECONFIG=//p' <<< "$settings")
    PATH=$(sed -n 's/^BIN=//p' <<< "$settings"):$PATH
    ;;
  current)
    values=$WEFT_CACHE/current-values.yaml
    step "images" "$WEFT_LOCAL/images-current.sh" "$values"
    ;;
  *) die "CLUSTER is 'local' (a node on this machine, the default) or 'current' (what kubectl points to), not '$CLUSTER'" ;;
esac

step "operator" "$WEFT_LOCAL/release.sh" "$RELEASE" "$RELEASE_NAMESPACE" "$values"
step "Stack" "$WEFT_LOCAL/sample.sh" apply "$NAMESPACE"
step "Ready" "$WEFT_LOCAL/sample.sh" wait "$NAMESPACE" "$STACK" "$values"
say
if [ "${CLUSTER:-local}" = current ]; then
  say "Ready. Nothing is exposed there; how to reach it stands at the beginning of k8s/stack.yaml"
  exit
fi
say "Ready. Open the console at CONSOLE_URL, sign in with ADMIN_EMAIL and ADMIN_PASSWORD, and press its buttons; or"
say "  curl -si http://127.0.0.1:30080/handle -H 'content-type: application/json' \\"
say "    -d '{\"action\":\"event\",\"event\":{\"name\":\"hello\",\"data\":\"from make up\"}}'"
say "Mail goes nowhere but to the page at MAIL_URL."
"$WEFT_LOCAL/urls.sh"
