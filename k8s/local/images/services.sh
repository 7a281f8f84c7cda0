#!/usr/bin/env bash
# Builds images of our own binaries with the Dockerfile's stage `prebuilt`, into one archive.
# The engine is Debian's, started for this alone, with socket and data in the state folder.
# usage: images/services.sh <archive.tar> <binary>=<reference>…
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
out=$1
shift
export DOCKER_HOST=unix://$WEFT_STATE/docker.sock DOCKER_CONFIG=$WEFT_STATE/docker-config DOCKER_BUILDKIT=0
pid_file=$WEFT_STATE/run/dockerd.pid
log=$WEFT_STATE/log/dockerd.log

start_engine() {
  mkdir -p "$DOCKER_CONFIG"
  rm -f "$WEFT_STATE/docker.pid"
  setsid dockerd --host "$DOCKER_HOST" --data-root "$WEFT_STATE/docker" --exec-root "$WEFT_STATE/docker-run" \
    --pidfile "$WEFT_STATE/docker.pid" --containerd "$WEFT_STATE/containerd.sock" \
    --iptables=false --ip6tables=false --bridge=none > "$log" 2>&1 < /dev/null &
  process_identity $! > "$pid_file"
  await "the image engine" 60 engine_answers || die "the end of $log: $(tail -n 3 "$log")"
}

engine_answers() {
  alive "$pid_file" || return 0
  docker version
}

# The folder that `prebuilt` takes as its context: one hard link, so that nothing else is sent to the engine.
build_image() { # binary reference
  local context
  context=$(mktemp -d "$WEFT_STATE/context.XXXXXX")
  install -m 755 "$WEFT_BIN_DIR/$1" "$context/$1"
  cp /etc/ssl/certs/ca-certificates.crt "$context/"
  if ! docker build --quiet --file "$WEFT_ROOT/Dockerfile" --target prebuilt --build-arg "BIN=$1" --tag "$2" "$context" > "$context.log" 2>&1; then
    die "the image $2 was not built: $(tail -n 5 "$context.log")"
  fi
  rm -rf "$context" "$context.log"
}

end_process "$pid_file"
trap 'end_process "$pid_file"' EXIT
start_engine
alive "$pid_file" || die "the image engine ended: $(tail -n 3 "$log")"
base=debian:bookworm-slim
base_key=$(basename "$("$WEFT_LOCAL/images/base.sh" debian)")
if [ "$(cat "$WEFT_STATE/docker-base" 2> /dev/null)" != "$base_key" ] || ! docker image inspect "$base" > /dev/null 2>&1; then
  docker import "$WEFT_CACHE/rootfs/$base_key" "$base" > /dev/null
  echo "$base_key" > "$WEFT_STATE/docker-base"
fi
references=()
for pair in "$@"; do
  build_image "${pair%%=*}" "${pair#*=}"
  references+=("${pair#*=}")
done
docker save --output "$out" "${references[@]}"
# The node has them now; here they would only pile up.
docker image rm --force "${references[@]}" > /dev/null
