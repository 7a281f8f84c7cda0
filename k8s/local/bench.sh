#!/usr/bin/env bash
# `make bench`: measures, prints a table and writes target/bench/report.json. It uses the node of `make up`.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
step "Debian packages" "$WEFT_LOCAL/packages.sh" dev node browser
step "tools" "$WEFT_LOCAL/tools/build.sh" > /dev/null
step "node" "$WEFT_LOCAL/node.sh" up
step "compile" cargo build --quiet --release --locked --manifest-path "$WEFT_ROOT/Cargo.toml" --workspace --bins
# The operator's integration tests, which apply generated Stacks to an API server.
WEFT_OPERATOR_TESTS=$(cargo test --quiet --no-run --release --locked --manifest-path "$WEFT_ROOT/Cargo.toml" \
  --package weft-operator --test it --message-format=json | jq -r 'select(.executable and .profile.test) | .executable')
export WEFT_OPERATOR_TESTS
step "images" "$WEFT_LOCAL/images.sh"
WEFT_TOOLS_BIN=$("$WEFT_LOCAL/tools/build.sh" --where)
KUBECONFIG=$("$WEFT_LOCAL/node.sh" env | sed -n 's/^KUBECONFIG=//p')
export WEFT_BROWSER=$WEFT_LOCAL/browser.sh
export WEFT_TOOLS_BIN KUBECONFIG WEFT_HELM=$WEFT_TOOLS_BIN/helm WEFT_VALUES=$WEFT_STATE/values.yaml PATH=$WEFT_TOOLS_BIN:$PATH
# Where `make up` has not been, the figures bring the CRD and take it away again.
kubectl get crd stacks.weft.dev > /dev/null 2>&1 || export WEFT_NODE_IS_OURS=1
# The report belongs into the checkout, wherever Cargo's target folder is.
export WEFT_BENCH_REPORT=$WEFT_ROOT/target/bench/report.json
cd "$WEFT_ROOT"
exec "$WEFT_BIN_DIR/weft-bench" "$@"
