#!/usr/bin/env bash
# Makes root file systems from Debian packages and keeps them in the cache; prints the archive's path.
# usage: images/base.sh debian | rabbitmq | postgres
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

SUITE=bookworm
RECIPE=3 # counts what is done below, as a part of each archive's key

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

# Puts one package and what it needs into a root file system, whose user 999 is the official image's.
install_as_999() { # folder user home package
  local folder=$1 user=$2 home=$3 package=$4
  tar -C "$folder" -xf "$(archive debian)"
  # apt's own user cannot write a plain file that stands where a device should be.
  mknod -m 666 "$folder/dev/null" c 1 3
  mknod -m 666 "$folder/dev/urandom" c 1 9
  printf '#!/bin/sh\nexit 101\n' > "$folder/usr/sbin/policy-rc.d"
  chmod 755 "$folder/usr/sbin/policy-rc.d"
  cp /etc/resolv.conf "$folder/etc/resolv.conf"
  cp -r /etc/apt/apt.conf.d/. "$folder/etc/apt/apt.conf.d/"
  # The official image's user, before the package makes one of its own.
  chroot "$folder" groupadd --system --gid 999 "$user"
  chroot "$folder" useradd --system --uid 999 --gid 999 --home-dir "$home" --shell /usr/sbin/nologin "$user"
  chroot "$folder" apt-get update < /dev/null
  DEBIAN_FRONTEND=noninteractive chroot "$folder" apt-get install -y --no-install-recommends "$package" < /dev/null
  rm -f "$folder/usr/sbin/policy-rc.d"
  : > "$folder/etc/resolv.conf"
  slim "$folder"
}

rabbitmq() { # folder
  install_as_999 "$1" rabbitmq /var/lib/rabbitmq rabbitmq-server
  rm -rf "$1"/var/lib/rabbitmq/* "$1"/var/lib/rabbitmq/.erlang.cookie
}

postgres() { # folder
  # The package would make a database of its own.
  mkdir -p "$1/etc/postgresql-common"
  echo 'create_main_cluster = false' > "$1/etc/postgresql-common/createcluster.conf"
  install_as_999 "$1" postgres /var/lib/postgresql postgresql-15
  # The compiler of queries is most of its size, and nothing here is worth compiling: without it the server goes on.
  rm -rf "$1"/usr/lib/postgresql/15/lib/{bitcode,llvmjit*} "$1"/usr/lib/*-linux-gnu/{libLLVM,libz3}* "$1"/usr/lib/llvm-*
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
  debian | rabbitmq | postgres) archive "$1" ;;
  --fill) "$2" "$3" ;;
  *) die "usage: images/base.sh debian|rabbitmq|postgres" ;;
esac
