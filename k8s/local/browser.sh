#!/usr/bin/env bash
# The console's types, and its tests in a real browser.
# usage: browser.sh typecheck | test [file…] | first-view
# `test` reads what `make urls` prints from its environment. Node's packages are kept outside the checkout, by their lock file.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
suites=$WEFT_ROOT/e2e/browser

packages_installed() {
  local key folder
  key=$(content_key "$suites/package.json" "$suites/package-lock.json")
  folder=$WEFT_CACHE/browser-$key
  if [ ! -e "$folder/complete" ]; then
    rm -rf "$folder"
    mkdir -p "$folder"
    cp "$suites/package.json" "$suites/package-lock.json" "$suites/.npmrc" "$folder/"
    (cd "$folder" && npm ci --ignore-scripts --no-progress --loglevel=error > /dev/null)
    touch "$folder/complete"
    keep_newest 2 "$WEFT_CACHE/browser-"
  fi
  # Node looks for packages beside the files that import them, and nowhere else.
  ln -sfn "$folder/node_modules" "$suites/node_modules"
}

typecheck() {
  "$suites/node_modules/.bin/tsc" -p "$WEFT_ROOT/services/frontend/assets"
  "$suites/node_modules/.bin/tsc" -p "$suites"
}

run_tests() { # file…
  local files=("$@")
  [ ${#files[@]} -gt 0 ] || files=("$suites"/tests/*.test.js)
  export WEFT_SCREENSHOTS=${WEFT_SCREENSHOTS:-$WEFT_ROOT/target/screenshots}
  node --test --test-concurrency=1 --test-reporter=spec "${files[@]}"
}

command -v npm > /dev/null || die "browser.sh needs node 20 or later, with npm"
what=${1:-}
shift || true
case $what in
  typecheck)
    packages_installed
    typecheck
    ;;
  test)
    step "Debian packages" "$WEFT_LOCAL/packages.sh" browser
    packages_installed
    run_tests "$@"
    ;;
  first-view)
    packages_installed
    exec node "$suites/first-view.js"
    ;;
  *) die "usage: browser.sh typecheck | test [file…] | first-view" ;;
esac
