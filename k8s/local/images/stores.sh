#!/usr/bin/env bash
# The stores' images of the local node, as archives in the cache. They keep the official images' environment,
# user and data path. Prints NAME=reference=archive lines.
# usage: images/stores.sh
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
bin=$("$WEFT_LOCAL/tools/build.sh" --where)
# The link in there points to …/node_modules/maildev/dist/bin/maildev.js of a folder that is named by its content.
maildev=$(readlink -f "$bin/maildev")
maildev=${maildev%/node_modules/*}
cache=$WEFT_CACHE/images
mkdir -p "$cache"

# The root file system of an image that has one static program.
with_program() { # folder program…
  local root=$1
  shift
  mkdir -p "$root/usr/local/bin" "$root/tmp" "$root/etc"
  chmod 1777 "$root/tmp"
  cp "$@" "$root/usr/local/bin/"
}

ferretdb() { # folder
  with_program "$1" "$bin/ferretdb"
  mkdir -p "$1/data/db"
  chown -R 999:999 "$1/data"
}

jaeger() { # folder
  with_program "$1" "$bin/jaeger-all-in-one"
}

rabbitmq() { # folder
  tar -C "$1" -xf "$("$WEFT_LOCAL/images/base.sh" rabbitmq)"
  install -m 755 "$WEFT_LOCAL/images/rabbitmq/entrypoint.sh" "$1/usr/local/bin/entrypoint.sh"
}

postgres() { # folder
  tar -C "$1" -xf "$("$WEFT_LOCAL/images/base.sh" postgres)"
  install -m 755 "$WEFT_LOCAL/images/postgres/entrypoint.sh" "$1/usr/local/bin/entrypoint.sh"
}

# The program runs on this machine's Node, whose one file needs nothing that the base lacks.
maildev() { # folder
  tar -C "$1" -xf "$("$WEFT_LOCAL/images/base.sh" debian)"
  install -m 755 "$(readlink -f "$(command -v node)")" "$1/usr/local/bin/node"
  mkdir -p "$1/usr/local/lib/maildev"
  cp -R "$maildev/node_modules" "$1/usr/local/lib/maildev/"
  chroot "$1" /usr/local/bin/node /usr/local/lib/maildev/node_modules/maildev/dist/bin/maildev.js --version > /dev/null ||
    die "$(command -v node) does not run in a plain Debian 12: install a Node that does"
}

config_of() { # name
  case $1 in
    ferretdb) echo '{"User": "999:999", "ExposedPorts": {"27017/tcp": {}}, "Env": ["FERRETDB_TELEMETRY=disable"],
      "Entrypoint": ["/usr/local/bin/ferretdb", "--handler=sqlite", "--sqlite-url=file:/data/db/", "--state-dir=/data/db",
        "--listen-addr=:27017", "--debug-addr=-", "--log-level=ERROR", "--log-format=json"]}' ;;
    jaeger) echo '{"User": "10001:10001", "ExposedPorts": {"4317/tcp": {}, "16686/tcp": {}},
      "Entrypoint": ["/usr/local/bin/jaeger-all-in-one"]}' ;;
    rabbitmq) echo '{"User": "999:999", "ExposedPorts": {"5672/tcp": {}},
      "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"],
      "Entrypoint": ["/usr/local/bin/entrypoint.sh"]}' ;;
    # SIGINT, as in the official image: SIGTERM would wait until every client has gone.
    postgres) echo '{"User": "999:999", "ExposedPorts": {"5432/tcp": {}}, "StopSignal": "SIGINT",
      "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/lib/postgresql/15/bin", "LANG=C.UTF-8"],
      "Entrypoint": ["/usr/local/bin/entrypoint.sh"]}' ;;
    maildev) echo '{"User": "1000:1000", "ExposedPorts": {"1025/tcp": {}, "1080/tcp": {}}, "Env": ["NODE_ENV=production"],
      "Entrypoint": ["/usr/local/bin/node", "/usr/local/lib/maildev/node_modules/maildev/dist/bin/maildev.js"]}' ;;
  esac
}

inputs_of() { # name: what its tag depends on
  cat "${BASH_SOURCE[0]}" "$WEFT_LOCAL/images/archive.sh"
  case $1 in
    ferretdb) readlink -f "$bin/ferretdb" ;;
    jaeger) readlink -f "$bin/jaeger-all-in-one" ;;
    rabbitmq | postgres) cat "$WEFT_LOCAL/images/base.sh" "$WEFT_LOCAL/images/$1/entrypoint.sh" ;;
    maildev) cat "$WEFT_LOCAL/images/base.sh"; echo "$maildev"; node --version ;;
  esac
}

make_archive() ( # name reference archive
  exec 9> "$cache/$1.lock"
  flock 9
  [ ! -f "$3" ] || exit 0
  say "    making the image $2 (once)"
  root=$(mktemp -d "$cache/$1.XXXXXX")
  trap 'rm -rf "$root" "$root.tar"' EXIT
  chmod 755 "$root"
  "$1" "$root"
  tar -C "$root" --numeric-owner --sort=name --mtime=@0 -cf "$root.tar" .
  bash "$WEFT_LOCAL/images/archive.sh" "$3" "$2" "$root.tar" "$(config_of "$1")"
  keep_newest 2 "$cache/weft-$1-"
)

for name in ferretdb rabbitmq postgres jaeger maildev; do
  tag=$(inputs_of "$name" | sha256sum | cut -c1-12)
  file=$cache/weft-$name-$tag.tar
  make_archive "$name" "localhost/weft-$name:$tag" "$file"
  echo "$name=localhost/weft-$name:$tag=$file"
done
