#!/usr/bin/env bash
# Installs the Debian packages that a purpose needs, and only those that are missing. Starts no daemon.
# usage: packages.sh dev|node|lint|browser…
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

packages_for() {
  case $1 in
    # gcc: the linker that Rust calls. rabbitmq-server, postgresql: the stores that integration tests and `make dev` run.
    dev) echo ca-certificates curl gcc jq libc6-dev postgresql procps python3-venv rabbitmq-server ;;
    node) echo busybox-static ca-certificates conntrack containerd containernetworking-plugins curl debootstrap \
      docker.io ethtool gcc iproute2 iptables jq kmod libc6-dev openssl procps runc socat util-linux ;;
    lint) echo shellcheck ;;
    # A browser for the console's tests, and one family of fonts: without any, pages have no text.
    browser) echo chromium fonts-dejavu-core ;;
    *) die "packages.sh knows dev, node, lint and browser, not '$1'" ;;
  esac
}

missing() { # package…
  local package
  for package in "$@"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2> /dev/null)" = installed ] || echo "$package"
  done
}

# Debian starts a package's daemon unless this file forbids it. One that was there before is put back.
with_no_daemons() { # command…
  local policy=/usr/sbin/policy-rc.d saved='' code=0
  if [ -e "$policy" ] || [ -L "$policy" ]; then
    saved=$(mktemp -d)
    mv "$policy" "$saved/"
  fi
  printf '#!/bin/sh\nexit 101\n' > "$policy"
  chmod 755 "$policy"
  "$@" || code=$?
  rm -f "$policy"
  if [ -n "$saved" ]; then
    mv "$saved/policy-rc.d" "$policy"
    rmdir "$saved"
  fi
  return "$code"
}

# Debian's postgresql also makes a database cluster that nobody wants here.
with_no_cluster() { # command…
  local folder=/etc/postgresql-common/createcluster.d code=0
  local setting=$folder/weft.conf
  mkdir -p "$folder"
  echo 'create_main_cluster = false' > "$setting"
  "$@" || code=$?
  rm -f "$setting"
  rmdir --ignore-fail-on-non-empty -p "$folder"
  return "$code"
}

install() { # package…
  local log
  log=$(mktemp)
  export DEBIAN_FRONTEND=noninteractive
  if ! { apt-get -o DPkg::Lock::Timeout=300 update &&
    with_no_daemons with_no_cluster apt-get -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "$@"; } \
    > "$log" 2>&1 < /dev/null; then
    tail -n 20 "$log" >&2
    die "apt-get could not install: $* (its whole output: $log)"
  fi
  rm -f "$log"
}

command -v dpkg-query > /dev/null || die "this is made for Debian 12: there is no dpkg here"
wanted=()
for purpose in "$@"; do read -r -a names <<< "$(packages_for "$purpose")"; wanted+=("${names[@]}"); done
mapfile -t absent < <(missing "${wanted[@]}" | sort -u)
[ ${#absent[@]} -gt 0 ] || exit 0
[ "$(id -u)" -eq 0 ] || die "these Debian packages are missing, and only root may install them: ${absent[*]}"
say "    installing ${#absent[@]} packages: ${absent[*]}"
install "${absent[@]}"
