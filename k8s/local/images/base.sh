#!/usr/bin/env bash
# Makes root file systems from Debian packages and keeps them in the cache; prints the archive's path.
# usage: images/base.sh debian | rabbitmq
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

SUITE=bookworm
RECIPE=2 # counts what is done below, as a part of each archive's key

# The mirror that this machine's apt uses for Debian; without one, debootstrap's own.
mirror() {
  # shellcheck disable=SC2016  # apt replaces these names, not the shell
  apt-get indextargets --format '$(CODENAME) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' 2> /dev/null |
    awk -v suite="$SUITE" '$1 == suite && $2 == "main" && !seen++ { print $3 }'
}

# What an image never reads: the lists and archives of apt, manuals, translations.
slim() { # folder
  rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/* "$1"/var/cache/debconf/*-old "$1"/var/log/*.log \
    "$1"/usr/share/{doc,man,info,locale,lintian}/*
}

debian() { # folder
  local from
  from=$(mirror)
  debootstrap --variant=minbase --include=ca-certificates,gpgv "$SUITE" "$1" ${from:+"$from"} < /dev/null
  # The update archives of the release too, where this machine reads them.
  if [ -f /etc/apt/sources.list.d/debian.sources ]; then
    rm -f "$1/etc/apt/sources.list"
    cp /etc/apt/sources.list.d/debian.sources "$1/etc/apt/sources.list.d/"
  fi
  slim "$1"
}

rabbitmq() { # folder
  tar -C "$1" -xf "$(archive debian)"
  # apt's own user cannot write a plain file that stands where a device should be.
  mknod -m 666 "$1/dev/null" c 1 3
  mknod -m 666 "$1/dev/urandom" c 1 9
  printf '#!/bin/sh\nexit 101\n' > "$1/usr/sbin/policy-rc.d"
  chmod 755 "$1/usr/sbin/policy-rc.d"
  cp /etc/resolv.conf "$1/etc/resolv.conf"
  cp -r /etc/apt/apt.conf.d/. "$1/etc/apt/apt.conf.d/"
  # The official image's user, before the package makes one of its own.
  chroot "$1" groupadd --system --gid 999 rabbitmq
  chroot "$1" useradd --system --uid 999 --gid 999 --home-dir /var/lib/rabbitmq --shell /usr/sbin/nologin rabbitmq
  chroot "$1" apt-get update < /dev/null
  DEBIAN_FRONTEND=noninteractive chroot "$1" apt-get install -y --no-install-recommends rabbitmq-server < /dev/null
  rm -rf "$1/usr/sbin/policy-rc.d" "$1"/var/lib/rabbitmq/* "$1"/var/lib/rabbitmq/.erlang.cookie
  : > "$1/etc/resolv.conf"
  slim "$1"
}

# Prints the path of a root file system's archive, made if it is not there yet.
archive() { # name
  local name=$1 folder out log
  out=$WEFT_CACHE/rootfs/$name-$RECIPE-$SUITE.tar
  mkdir -p "$WEFT_CACHE/rootfs"
  (
    exec 9> "$WEFT_CACHE/rootfs/$name.lock"
    flock 9
    [ ! -f "$out" ] || exit 0
    say "    making the root file system '$name' (once)"
    folder=$(mktemp -d "$WEFT_CACHE/rootfs/$name.XXXXXX")
    trap 'rm -rf "$folder"' EXIT
    log=$WEFT_CACHE/rootfs/$name.log
    chmod 755 "$folder"
    # A process of its own: bash forgets `set -e` in a function whose status is looked at.
    bash "${BASH_SOURCE[0]}" --fill "$name" "$folder" > "$log" 2>&1 9>&- || { tail -n 20 "$log" >&2; die "could not make '$name' (its whole output: $log)"; }
    tar -C "$folder" --numeric-owner --sort=name --exclude=./dev/* --exclude=./proc/* --exclude=./sys/* -cf "$out.new" .
    mv "$out.new" "$out"
  )
  echo "$out"
}

case ${1:-} in
  debian | rabbitmq) archive "$1" ;;
  --fill) "$2" "$3" ;;
  *) die "usage: images/base.sh debian|rabbitmq" ;;
esac
