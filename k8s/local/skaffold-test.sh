#!/usr/bin/env bash
# Does Skaffold's build script do what Skaffold relies on? Two images at once, by an engine of our own, from the binaries that are
# there; then a wrong name, and a push that fails.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
WEFT_STATE=$(mktemp -d)
. "$WEFT_LOCAL/images/engine.sh"
trap 'stop_engine; rm -rf "$WEFT_STATE"' EXIT
start_engine
import_base

# As Skaffold calls it.
build() { # image push
  IMAGE=$1 PUSH_IMAGE=$2 BUILD_CONTEXT=$WEFT_ROOT WEFT_PREBUILT=1 "$WEFT_LOCAL/skaffold-build.sh"
}

has() { # image binary
  local container config
  config=$(docker image inspect --format '{{.Config.User}} {{.Config.Entrypoint}}' "$1")
  [ "$config" = "65532:65532 [/usr/local/bin/$2]" ] || die "$1 is made as $config"
  container=$(docker create "$1")
  docker cp "$container:/usr/local/bin/$2" "$WEFT_STATE/found" > /dev/null
  cmp "$WEFT_STATE/found" "$WEFT_BIN_DIR/$2" || die "$1 has another $2 than $WEFT_BIN_DIR"
  docker rm "$container" > /dev/null
}

build weft-broker:skaffold false &
first=$!
build registry.example/team/weft-operator:skaffold false
wait "$first"
has weft-broker:skaffold broker
has registry.example/team/weft-operator:skaffold weft-operator

refused() { # what image push
  if said=$(build "$2" "$3" 2>&1); then die "$1 was taken: $said"; fi
}
refused "an image that is none of ours" weft-nothing:skaffold false
grep -q weft-nothing <<< "$said" || die "the refusal does not name the image: $said"
refused "a push that failed" 127.0.0.1:1/weft-broker:skaffold true
say "    two images as Skaffold asks for them, and two refusals"
