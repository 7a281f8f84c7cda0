#!/usr/bin/env bash
# Makes an image archive (as `docker save` would) from a root file system, without an image engine.
# usage: images/archive.sh <out.tar> <name:tag> <rootfs.tar> <config as JSON: User, Env, Entrypoint, …>
set -euo pipefail
out=$1 ref=$2 rootfs=$3 config=$4
work=$(mktemp -d "$(dirname "$out")/archive.XXXXXX")
trap 'rm -rf "$work"' EXIT
ln "$rootfs" "$work/layer.tar" 2> /dev/null || cp "$rootfs" "$work/layer.tar"
digest=$(sha256sum < "$rootfs" | cut -d' ' -f1)
jq -n --arg digest "sha256:$digest" --arg architecture "$(dpkg --print-architecture)" --argjson config "$config" \
  '{architecture: $architecture, os: "linux", config: $config, rootfs: {type: "layers", diff_ids: [$digest]}}' > "$work/config.json"
jq -n --arg ref "$ref" '[{Config: "config.json", RepoTags: [$ref], Layers: ["layer.tar"]}]' > "$work/manifest.json"
tar -C "$work" -cf "$out.new" manifest.json config.json layer.tar
mv "$out.new" "$out"
