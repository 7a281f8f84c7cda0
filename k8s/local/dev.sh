#!/usr/bin/env bash
# `make dev`: the services and their stores as plain processes on loopback. Needs no root once the packages are there.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
step "Debian packages" "$WEFT_LOCAL/packages.sh" dev
step "tools" "$WEFT_LOCAL/tools/build.sh" ferretdb jaeger maildev > /dev/null
step "compile" cargo build --quiet --release --locked --manifest-path "$WEFT_ROOT/Cargo.toml" \
  --bin broker --bin authentication --bin logger --bin mail --bin listener --bin frontend --bin weft-dev
WEFT_TOOLS_BIN=$("$WEFT_LOCAL/tools/build.sh" --where)
export WEFT_TOOLS_BIN
exec "$WEFT_BIN_DIR/weft-dev" "$@"
