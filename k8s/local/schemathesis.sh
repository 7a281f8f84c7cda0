#!/usr/bin/env bash
# Holds a running broker against its own description: schemathesis makes requests, good and bad, and checks every answer.
# Ends with an error when it finds anything.
# usage: schemathesis.sh <url of openapi.json> <access token of an admin>
# WEFT_SCHEMATHESIS_EXAMPLES (20): requests for each operation and phase. WEFT_SCHEMATHESIS_SECONDS (300): for the whole run.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

SCHEMATHESIS=4.32.5
[ $# -eq 2 ] || die "usage: schemathesis.sh <url of openapi.json> <access token>"
url=$1 token=$2
home=$WEFT_CACHE/schemathesis-$SCHEMATHESIS

install() {
  local folder
  mkdir -p "$WEFT_CACHE"
  folder=$(mktemp -d "$WEFT_CACHE/schemathesis.XXXXXX")
  # A venv's scripts name their own folder, so it is made where it stays; half of one is made again.
  rm -rf "$home"
  python3 -m venv "$home" > "$folder/log" 2>&1 ||
    die "python3 can't make a venv; the Debian package python3-venv has what it needs: $(tail -n 3 "$folder/log")"
  "$home/bin/pip" install --quiet --disable-pip-version-check "schemathesis==$SCHEMATHESIS" > "$folder/log" 2>&1 ||
    die "schemathesis could not be installed: $(tail -n 3 "$folder/log")"
  touch "$home/complete"
  rm -rf "$folder"
}

exec 9> "$WEFT_CACHE/schemathesis.lock"
flock 9
[ -e "$home/complete" ] || step "schemathesis $SCHEMATHESIS" install
flock -u 9

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# The token is in a file that only we read, not among the arguments that every process can see.
umask 077
cat > "$work/schemathesis.toml" << END
headers = { Authorization = "Bearer $token" }
request-timeout = 30.0

[generation]
max-examples = ${WEFT_SCHEMATHESIS_EXAMPLES:-20}
deterministic = true
database = "none"

# What is limited is refused, however good it is; an id that is made up is of nobody; an idempotency key may have been used
# before with other content.
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "401", "403", "404", "409", "422", "429"]

# A cursor is opaque: one that is made up comes from no page before, and a description can't say which ones do.
[[operations]]
include-name = ["GET /v1/users", "GET /v1/logs", "GET /v1/dead-letters"]
checks.positive_data_acceptance.expected-statuses = ["2xx", "400", "401", "403", "404", "409", "429"]
END
cd "$work"
code=0
timeout --kill-after 10 "${WEFT_SCHEMATHESIS_SECONDS:-300}" "$home/bin/schemathesis" --config-file "$work/schemathesis.toml" \
  run --checks all --no-color "$url" > "$work/report" 2>&1 || code=$?
case $code in
  0) tail -n 25 "$work/report" >&2 ;;
  124 | 137) tail -n 40 "$work/report" >&2; die "schemathesis did not end within ${WEFT_SCHEMATHESIS_SECONDS:-300} s" ;;
  *) cat "$work/report" >&2; die "schemathesis found something (exit status $code)" ;;
esac
