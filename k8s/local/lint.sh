#!/usr/bin/env bash
# `make lint`: everything that can be said about the code without running it.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
CARGO_DENY=0.20.2
cd "$WEFT_ROOT"

# Built without optimisation, which halves the time, and once for each version, outside the checkout.
cargo_deny_installed() {
  local root=$WEFT_CACHE/cargo-deny-$CARGO_DENY
  [ -x "$root/bin/cargo-deny" ] && return
  mkdir -p "$WEFT_CACHE"
  say "    building cargo-deny $CARGO_DENY (once)"
  CARGO_TARGET_DIR=$WEFT_CACHE/cargo-deny-build CARGO_PROFILE_DEV_DEBUG=0 cargo install --quiet --locked --debug \
    --no-track --root "$root" --no-default-features "cargo-deny@$CARGO_DENY"
  rm -rf "$WEFT_CACHE/cargo-deny-build"
}

dependencies() {
  local deny=$WEFT_CACHE/cargo-deny-$CARGO_DENY/bin/cargo-deny log
  "$deny" --log-level error --locked check bans licenses sources
  # Known vulnerabilities, where their database can be reached: without a network there is nothing to compare with.
  log=$(mktemp)
  if "$deny" --log-level error fetch db > "$log" 2>&1; then
    "$deny" --log-level error --locked check advisories
  else
    say "    advisories: not checked, their database cannot be reached"
  fi
  rm -f "$log"
}

shell_scripts() {
  local files
  mapfile -t files < <(find k8s .ci -type f \( -name '*.sh' -o -path .ci/run \))
  shellcheck -x -P SCRIPTDIR "${files[@]}"
}

case ${1:-all} in
  --cargo-deny) cargo_deny_installed ;;
  --dependencies) dependencies ;;
  --shell) shell_scripts ;;
  all)
    step "Debian packages" "$WEFT_LOCAL/packages.sh" dev lint
    step "format" cargo fmt --all --check
    step "shell scripts" "$WEFT_LOCAL/lint.sh" --shell
    step "clippy" cargo clippy --quiet --release --locked --workspace --all-targets -- -D warnings
    step "browser modules" "$WEFT_LOCAL/browser.sh" typecheck
    step "cargo-deny" "$WEFT_LOCAL/lint.sh" --cargo-deny
    step "dependencies" "$WEFT_LOCAL/lint.sh" --dependencies
    ;;
esac
