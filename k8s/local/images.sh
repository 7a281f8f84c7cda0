#!/usr/bin/env bash
# Puts every image that the sample Stack needs on the local node, and writes the chart values that name them.
# A tag is a hash of what the image is made of: what is there already is neither built nor rolled out again.
# usage: images.sh      writes $WEFT_STATE/values.yaml
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
SERVICES=(broker authentication logger mail listener frontend weft-operator)
node_images=(ctr -a "$WEFT_STATE/containerd.sock" -n k8s.io images)
declare -A reference archive

[ -S "$WEFT_STATE/containerd.sock" ] || die "no node in $WEFT_STATE: run '$WEFT_LOCAL/node.sh up' first"
have=$("${node_images[@]}" list -q)
on_node() { grep -qxF "$1" <<< "$have"; }

stores=$("$WEFT_LOCAL/images/stores.sh")
while IFS='=' read -r name ref file; do reference[$name]=$ref archive[$name]=$file; done <<< "$stores"
for name in "${!archive[@]}"; do
  on_node "${reference[$name]}" || "${node_images[@]}" import "${archive[$name]}" > /dev/null
done

base=$(basename "$("$WEFT_LOCAL/images/base.sh" debian)")
missing=()
for name in "${SERVICES[@]}"; do
  [ -x "$WEFT_BIN_DIR/$name" ] || die "$WEFT_BIN_DIR/$name is not there: build it with 'cargo build --release --bin $name'"
  tag=$({ cat "$WEFT_BIN_DIR/$name" "$WEFT_ROOT/Dockerfile"; echo "$base"; } | sha256sum | cut -c1-12)
  reference[$name]=localhost/weft-${name#weft-}:$tag
  on_node "${reference[$name]}" || missing+=("$name=${reference[$name]}")
done
if [ ${#missing[@]} -gt 0 ]; then
  say "    building ${missing[*]%%=*}"
  new=$WEFT_STATE/services.tar
  "$WEFT_LOCAL/images/services.sh" "$new" "${missing[@]}"
  "${node_images[@]}" import "$new" > /dev/null
  rm -f "$new"
fi

# Kubelet keeps every image here. What neither runs nor was just named may go, once there is much of it: not at once,
# because another clone's images may be about to be used.
prune() {
  local unused
  unused=$("${node_images[@]}" list -q | grep '^localhost/weft-' | grep -vxF -f <(
    printf '%s\n' "${reference[@]}"
    sed 's/.*=//' "$WEFT_STATE/images/refs"
    ctr -a "$WEFT_STATE/containerd.sock" -n k8s.io containers list | awk '{ print $2 }') || true)
  [ "$(wc -l <<< "$unused")" -gt 42 ] || return 0
  xargs "${node_images[@]}" remove <<< "$unused" > /dev/null
}
if [ ${#missing[@]} -gt 0 ]; then prune; fi

version=$(sed -n '/^\[workspace.package\]/,/^\[/ s/^version = "\(.*\)"/\1/p' "$WEFT_ROOT/Cargo.toml")
cat > "$WEFT_STATE/values.yaml.new" << YAML
# Written by k8s/local/images.sh: the images on the local node.
image: {repository: ${reference[weft-operator]%:*}, tag: "${reference[weft-operator]##*:}"}
versions:
  "$version":
    broker: ${reference[broker]}
    logger: ${reference[logger]}
    listener: ${reference[listener]}
    authentication: ${reference[authentication]}
    mail: ${reference[mail]}
    frontend: ${reference[frontend]}
stores:
  mongodb: {image: ${reference[ferretdb]}, flavour: ferretdb}
  rabbitmq: {image: ${reference[rabbitmq]}}
  postgres: {image: ${reference[postgres]}}
  mailcatcher: {image: ${reference[maildev]}}
tracing:
  jaeger: {image: ${reference[jaeger]}, major: 1}
YAML
mv "$WEFT_STATE/values.yaml.new" "$WEFT_STATE/values.yaml"
