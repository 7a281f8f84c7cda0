#!/usr/bin/env bash
# Builds images of our own binaries into one archive.
# usage: images/services.sh <archive.tar> <binary>=<reference>…
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
. "$(dirname "${BASH_SOURCE[0]}")/engine.sh"
out=$1
shift

stop_engine
trap stop_engine EXIT
start_engine
import_base
references=()
for pair in "$@"; do
  "$WEFT_LOCAL/images/prebuilt.sh" "${pair%%=*}" "${pair#*=}"
  references+=("${pair#*=}")
done
docker save --output "$out" "${references[@]}"
# The node has them now; here they would only pile up.
docker image rm --force "${references[@]}" > /dev/null
