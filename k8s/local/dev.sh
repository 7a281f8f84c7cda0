#!/usr/bin/env bash
# `make dev`: the services and their stores as plain processes on loopback. Needs no root once the packages are there.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
step "Debian packages" "$WEFT_LOCAL/packages.sh" dev
step "tools" "$WEFT_LOCAL/tools/build.sh" ferretdb jaeger > /dev/null
step "compile" cargo build --quiet --release --locked --manifest-path "$WEFT_ROOT/Cargo.toml" \
  --bin broker --bin logger --bin listener --bin weft-dev
WEFT_TOOLS_BIN=$("$WEFT_LOCAL/tools/build.sh" --where)
export WEFT_TOOLS_BIN
exec "$WEFT_BIN_DIR/weft-dev" "$@"
