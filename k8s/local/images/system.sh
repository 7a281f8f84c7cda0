#!/usr/bin/env bash
# The two images that a node cannot start without, as archives beside a file `refs` with their names.
# usage: images/system.sh <folder>
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
out=$1
bin=$("$WEFT_LOCAL/tools/build.sh" --where)
mkdir -p "$out"

image() { # name file config
  local name=$1 file=$2 tag ref work
  tag=$({ cat "$file" "$WEFT_LOCAL/images/archive.sh"; echo "$3"; } | sha256sum | cut -c1-12)
  ref=localhost/weft-$name:$tag
  echo "$name=$ref" >> "$out/refs.new"
  [ ! -f "$out/$name-$tag.tar" ] || { ln -sfn "$name-$tag.tar" "$out/$name.tar"; return 0; }
  work=$(mktemp -d "$out/$name.XXXXXX")
  cp "$file" "$work/"
  tar -C "$work" --owner=0 --group=0 --mtime=@0 -cf "$work.rootfs" "$(basename "$file")"
  bash "$WEFT_LOCAL/images/archive.sh" "$out/$name-$tag.tar" "$ref" "$work.rootfs" "$3"
  rm -rf "$work" "$work.rootfs"
  ln -sfn "$name-$tag.tar" "$out/$name.tar"
}

rm -f "$out/refs.new"
# A pod's sandbox only has to be there: any program that waits will do.
image pause /bin/busybox '{"Entrypoint": ["/busybox", "sleep", "infinity"], "User": "65535:65535"}'
image coredns "$bin/coredns" '{"Entrypoint": ["/coredns"]}'
mv "$out/refs.new" "$out/refs"
