#!/usr/bin/env bash
# `make test`: every check, then every test, from the weakest to the cluster. The first failing stage ends it and is named.
# The end to end part uses the node of a running `make up`, without touching its release; without one it starts a node
# from nothing in a state folder of its own, and takes it down again, pass or fail.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
export WEFT_REQUIRE_STORES=1
# The same each time: with other packages or features Cargo would compile much of it again.
workspace=(--release --locked --manifest-path "$WEFT_ROOT/Cargo.toml" --workspace --features weft-e2e/cluster)

start_own_node() {
  export WEFT_STATE=/var/lib/weft-test
  # What an earlier test run left, running or not, is nobody's.
  step "old test node away" "$WEFT_LOCAL/node.sh" down
  mkdir -p "$WEFT_STATE/run"
  process_identity $$ > "$WEFT_STATE/run/owner.pid"
  trap '"$WEFT_LOCAL/node.sh" down' EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  step "node" "$WEFT_LOCAL/node.sh" up
  export WEFT_NODE_IS_OURS=1
}

end_to_end() {
  # One that runs but is not well, or is of another version, is mended: two nodes do not fit one machine.
  local found
  found=$("$WEFT_LOCAL/node.sh" status || true)
  if grep -q '=running$' <<< "$found"; then
    say "    the tests share the node in $WEFT_STATE"
    step "node" "$WEFT_LOCAL/node.sh" up
  else
    start_own_node
  fi
  step "images" "$WEFT_LOCAL/images.sh"
  step "skaffold's build script" "$WEFT_LOCAL/skaffold-test.sh"
  KUBECONFIG=$("$WEFT_LOCAL/node.sh" env | sed -n 's/^KUBECONFIG=//p')
  export KUBECONFIG WEFT_VALUES=$WEFT_STATE/values.yaml
  step "end to end" cargo test "${workspace[@]}" --test house --test dev --test cluster -- --test-threads=1
}

# Signs the first user in.
access_token() {
  curl -sf "$BROKER_URL/handle" -H 'content-type: application/json' \
    -d "{\"action\":\"auth\",\"auth\":{\"email\":\"$ADMIN_EMAIL\",\"password\":\"$ADMIN_PASSWORD\"}}" | jq -r .data.access_token
}

# The suites that take a whole stack from outside, against the one that `make dev` starts.
from_outside() {
  local out=$WEFT_CACHE/suites-urls dev
  mkdir -p "$WEFT_CACHE"
  : > "$out"
  "$WEFT_BIN_DIR/weft-dev" --broker-port 0 --console-port 0 --jaeger-port 0 --mail-port 0 \
    --origins http://127.0.0.1:8099 > "$out" &
  dev=$!
  # An empty line is the last that it prints.
  if ! await "the stack of make dev" 180 grep -q '^$' "$out"; then
    kill "$dev" 2> /dev/null || true
    return 1
  fi
  set -a
  # shellcheck disable=SC1090  # NAME=value lines
  . "$out"
  set +a
  local code=0
  # The browser first: among schemathesis' requests are sign-outs.
  step "console in a browser" "$WEFT_LOCAL/browser.sh" test || code=$?
  [ "$code" -ne 0 ] || WEFT_SCHEMATHESIS_EXAMPLES=10 step "the broker against its description" \
    "$WEFT_LOCAL/schemathesis.sh" "$BROKER_URL/v1/openapi.json" "$(access_token)" || code=$?
  kill "$dev" 2> /dev/null || true
  wait "$dev" || true
  return "$code"
}

# All of it in one go, so that every core has something to compile until the end. An integration test brings its package's
# programs with it.
compile() {
  cargo test --quiet --no-run "${workspace[@]}" --bins --lib --test it --test house --test dev --test cluster
}

# Tests of one crate or more, as cargo would run them: in the folder of their crate.
run_tests() { # folder and executable, a line each
  local folder executable
  while read -r folder executable; do
    say "     Running $executable"
    (cd "$folder" && "$executable" < /dev/null) || return 1
  done
}

# The operator's need processors and no store, and their time is not the clock's; those with RabbitMQ mostly wait for one that comes
# and goes. So these run side by side, and the operator's yield. The others have figures to meet, and are alone.
unit_and_integration() {
  local all said operators code=0 operator="^$WEFT_ROOT/operator/" rabbitmq="^$WEFT_ROOT/\(crates/events\|services/listener\) "
  all=$(cargo test --quiet --no-run --message-format=json "${workspace[@]}" --lib --bins --test it |
    jq -r 'select(.reason == "compiler-artifact" and .profile.test and .executable)
      | (.manifest_path | rtrimstr("/Cargo.toml")) + " " + .executable') || return 1
  said=$(mktemp)
  (renice -n 10 $BASHPID > /dev/null && run_tests) < <(grep "$operator" <<< "$all") > "$said" 2>&1 &
  operators=$!
  run_tests < <(grep "$rabbitmq" <<< "$all") || code=$?
  wait "$operators" || code=$?
  cat "$said"
  rm -f "$said"
  run_tests < <(grep -v -e "$operator" -e "$rabbitmq" <<< "$all") || code=$?
  return "$code"
}

started=$SECONDS
step "Debian packages" "$WEFT_LOCAL/packages.sh" dev node lint browser
step "tools" "$WEFT_LOCAL/tools/build.sh" > /dev/null
WEFT_TOOLS_BIN=$("$WEFT_LOCAL/tools/build.sh" --where)
export WEFT_TOOLS_BIN WEFT_HELM=$WEFT_TOOLS_BIN/helm PATH=$WEFT_TOOLS_BIN:$PATH
step "lint" "$WEFT_LOCAL/lint.sh"
step "compile" compile
step "unit and integration tests" unit_and_integration
step "examples in the documentation" cargo test "${workspace[@]}" --doc
from_outside
end_to_end
say "every test passed in $((SECONDS - started)) s"
