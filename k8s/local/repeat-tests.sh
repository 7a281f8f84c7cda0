#!/usr/bin/env bash
# Runs tests in a loop while one core is kept busy: a test that needs a quiet machine fails here.
#
#   k8s/local/repeat-tests.sh ROUNDS [PACKAGE...]    without packages: every unit and integration test
#
# A failed run's output stays in target/repeat/. Ends with 1 when any run failed.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
rounds=${1:?usage: repeat-tests.sh ROUNDS [PACKAGE...]}
shift
export WEFT_REQUIRE_STORES=1
WEFT_TOOLS_BIN=$("$WEFT_LOCAL/tools/build.sh" --where)
export WEFT_TOOLS_BIN WEFT_HELM=$WEFT_TOOLS_BIN/helm PATH=$WEFT_TOOLS_BIN:$PATH
selection=(--workspace --features weft-e2e/cluster --test it)
if [ $# -gt 0 ]; then
  selection=(--tests)
  for package in "$@"; do selection+=(-p "$package"); done
fi

cd "$WEFT_ROOT"
all=$("${CARGO:-cargo}" test --quiet --no-run --message-format=json --release --locked --lib --bins "${selection[@]}" |
  jq -r 'select(.reason == "compiler-artifact" and .profile.test and .executable)
    | (.manifest_path | rtrimstr("/Cargo.toml")) + " " + .executable' | sort -u)

keep_a_core_busy() { while :; do :; done; }
keep_a_core_busy &
busy=$!
trap 'kill "$busy"' EXIT

out=target/repeat
mkdir -p "$out"
failed=0
for ((round = 1; round <= rounds; round++)); do
  while read -r folder executable; do
    log=$WEFT_ROOT/$out/$(basename "$executable").$round.log
    if (cd "$folder" && "$executable" < /dev/null) > "$log" 2>&1; then
      rm "$log"
    else
      failed=$((failed + 1))
      say "round $round: ${folder#"$WEFT_ROOT"/}: $(sed -n 's/^test \(.*\) \.\.\. FAILED$/\1/p' "$log" | tr '\n' ' '), see $log"
    fi
  done <<< "$all"
  say "round $round of $rounds ended, $failed failed runs so far"
done
[ "$failed" -eq 0 ]
