#!/usr/bin/env bash
# Builds the node's tools from the pinned Go modules beside this file, and prints the folder that has them all.
# Each family is built once for each content of its go.mod, outside the checkout: a second clone builds nothing.
# usage: tools/build.sh [--where] [family…]      families: the folders beside this file (default: all); --where builds nothing
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${WEFT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/weft}

key_of() { # family
  cat "$here/$1/go.mod" "$here/$1/go.sum" | sha256sum | cut -c1-16
}

version_of() { # family module
  (cd "$here/$1" && go list -mod=readonly -m -f '{{.Version}}' "$2")
}

# `git describe` does not reach a module's build: what clients and kubelet compare has to be set by hand.
flags_for() { # family
  local version p=k8s.io/component-base/version
  [ "$1" = kubernetes ] || return 0
  version=$(version_of kubernetes k8s.io/kubernetes)
  echo "-X $p.gitVersion=$version -X $p.gitMajor=$(cut -d. -f1 <<< "${version#v}") -X $p.gitMinor=$(cut -d. -f2 <<< "$version") -X $p.gitTreeState=clean"
}

# FerretDB reads its version from a file that its module lacks, and panics without it.
vendor_with_version() { # folder
  (cd "$1" && go mod vendor)
  version_of ferretdb github.com/FerretDB/FerretDB > "$1/vendor/github.com/FerretDB/FerretDB/build/version/version.txt"
}

# Runs in a shell of its own, so that what it leaves half done is removed however it ends.
build() ( # family target-folder
  family=$1 out=$2 started=$SECONDS mod=readonly
  work=$(mktemp -d "$cache/build-$family.XXXXXX")
  trap 'rm -rf "$work"; [ -d "$out" ] || echo "error: building $family failed; its modules are in $here/$family/go.mod" >&2' EXIT
  cp "$here/$family/go.mod" "$here/$family/go.sum" "$work/"
  mkdir "$work/bin"
  if [ "$family" = ferretdb ]; then vendor_with_version "$work"; mod=vendor; fi
  cd "$work"
  CGO_ENABLED=0 go build -mod="$mod" -trimpath -ldflags "-s -w $(flags_for "$family")" -o bin/ tool
  case $family in
    etcd) mv bin/server bin/etcd ;;
    jaeger) mv bin/all-in-one bin/jaeger-all-in-one ;;
  esac
  rm -rf "$out"
  mv bin "$out"
  echo "    built $family in $((SECONDS - started)) s" >&2
)

# Two clones may ask at once: one builds, the other waits and finds it done.
provide() { # family
  local family=$1 out lock file
  out=$cache/tools/$family-$(key_of "$family")
  if [ ! -d "$out" ]; then
    command -v go > /dev/null || { echo "error: Go is needed to build $family: install it and try again" >&2; return 1; }
    exec {lock}> "$cache/tools/$family.lock"
    flock "$lock"
    if [ ! -d "$out" ]; then
      echo "    building $family (once for this go.mod)" >&2
      build "$family" "$out"
    fi
    exec {lock}>&-
  fi
  for file in "$out"/*; do ln -sfn "$file" "$bin/$(basename "$file")"; done
}

all=()
for file in "$here"/*/go.mod; do all+=("$(basename "$(dirname "$file")")"); done
# The folder of links is named by the content of every go.mod: clones with other versions have another one.
bin=$cache/bin/$(for family in "${all[@]}"; do key_of "$family"; done | sha256sum | cut -c1-16)
if [ "${1:-}" != --where ]; then
  mkdir -p "$bin" "$cache/tools"
  [ $# -gt 0 ] || set -- "${all[@]}"
  for family in "$@"; do
    [ -f "$here/$family/go.mod" ] || { echo "error: no tool family '$family'; there are: ${all[*]}" >&2; exit 2; }
    provide "$family" < /dev/null
  done
fi
echo "$bin"
