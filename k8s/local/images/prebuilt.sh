#!/usr/bin/env bash
# Builds an image of one of our compiled binaries with the Dockerfile's stage `prebuilt`, by the engine that DOCKER_HOST names.
# usage: images/prebuilt.sh <binary> <reference>
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
binary=$1 reference=$2
[ -x "$WEFT_BIN_DIR/$binary" ] || die "$WEFT_BIN_DIR/$binary is not there: build it with 'cargo build --release --bin $binary'"
# The stage takes a folder with the binary and the authorities: nothing else is sent to the engine.
context=$(mktemp -d)
log=$(mktemp)
trap 'rm -rf "$context" "$log"' EXIT
install -m 755 "$WEFT_BIN_DIR/$binary" "$context/$binary"
cp /etc/ssl/certs/ca-certificates.crt "$context/"
docker build --quiet --file "$WEFT_ROOT/Dockerfile" --target prebuilt --build-arg "BIN=$binary" --tag "$reference" "$context" > "$log" 2>&1 ||
  die "the image $reference was not built: $(tail -n 5 "$log")"
