# shellcheck shell=bash
# Debian's image engine, started for one script alone, with socket and data in the state folder. To be sourced after lib.sh.
# It shares the node's containerd where there is a node, and else has one of its own.

export DOCKER_HOST=unix://$WEFT_STATE/docker.sock DOCKER_CONFIG=$WEFT_STATE/docker-config DOCKER_BUILDKIT=0
engine_pid=$WEFT_STATE/run/dockerd.pid
engine_log=$WEFT_STATE/log/dockerd.log

start_engine() {
  local containerd=()
  mkdir -p "$DOCKER_CONFIG" "$WEFT_STATE/run" "$WEFT_STATE/log"
  rm -f "$WEFT_STATE/docker.pid"
  [ ! -S "$WEFT_STATE/containerd.sock" ] || containerd=(--containerd "$WEFT_STATE/containerd.sock")
  setsid dockerd --host "$DOCKER_HOST" --data-root "$WEFT_STATE/docker" --exec-root "$WEFT_STATE/docker-run" \
    --pidfile "$WEFT_STATE/docker.pid" "${containerd[@]}" \
    --iptables=false --ip6tables=false --bridge=none > "$engine_log" 2>&1 < /dev/null &
  process_identity $! > "$engine_pid"
  await "the image engine" 60 engine_answers || die "the end of $engine_log: $(tail -n 3 "$engine_log")"
  alive "$engine_pid" || die "the image engine ended: $(tail -n 3 "$engine_log")"
}

engine_answers() {
  alive "$engine_pid" || return 0
  docker version
}

stop_engine() {
  end_process "$engine_pid"
}

# Our images' base, from Debian's own archive: no registry is asked.
import_base() {
  local base=debian:bookworm-slim key
  key=$(basename "$("$WEFT_LOCAL/images/base.sh" debian)")
  if [ "$(cat "$WEFT_STATE/docker-base" 2> /dev/null)" != "$key" ] || ! docker image inspect "$base" > /dev/null 2>&1; then
    docker import "$WEFT_CACHE/rootfs/$key" "$base" > /dev/null
    echo "$key" > "$WEFT_STATE/docker-base"
  fi
}
