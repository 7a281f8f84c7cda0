#!/usr/bin/env bash
# Skaffold's custom builder: one image of our own. The first call compiles all binaries at once, the others find them done.
# Skaffold sets IMAGE (such as registry.example/team/weft-broker:0f3a), PUSH_IMAGE (true or false) and BUILD_CONTEXT.
# WEFT_PREBUILT=1 takes the binaries that are there.
set -euo pipefail
cd "${BUILD_CONTEXT:?Skaffold sets it}"
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
: "${IMAGE:?Skaffold sets it}"
BINARIES=(broker authentication logger mail listener frontend weft-operator)

name=${IMAGE##*/}
name=${name%%[:@]*}
binary=${name#weft-}
[ "$binary" != operator ] || binary=weft-operator
case " ${BINARIES[*]} " in
  *" $binary "*) ;;
  *) die "the image $IMAGE is none of ours: it would have to be called weft-<one of ${BINARIES[*]#weft-}>" ;;
esac
docker version > /dev/null 2>&1 || die "Docker does not answer: start it, or set DOCKER_HOST"

compile() {
  # Skaffold may build several images at a time.
  mkdir -p "$CARGO_TARGET_DIR"
  exec 9> "$CARGO_TARGET_DIR/skaffold.lock"
  flock 9
  cargo build --quiet --release --locked --manifest-path "$WEFT_ROOT/Cargo.toml" "${BINARIES[@]/#/--bin=}"
  exec 9>&-
}

[ "${WEFT_PREBUILT:-}" = 1 ] || compile
"$WEFT_LOCAL/images/prebuilt.sh" "$binary" "$IMAGE"
if [ "${PUSH_IMAGE:-false}" = true ]; then docker push --quiet "$IMAGE"; fi
