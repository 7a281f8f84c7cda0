#!/usr/bin/env bash
# Builds the node's tools from the pinned Go modules and npm packages beside this file, and prints the folder that has
# them all. Each family is built once for each content of its pins, outside the checkout: a second clone builds nothing.
# usage: tools/build.sh [--where] [family…]      families: the folders beside this file (default: all); --where builds nothing
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${WEFT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/weft}

is_npm() { # family
  [ -f "$here/$1/package-lock.json" ]
}

key_of() { # family
  local pins=(go.mod go.sum)
  if is_npm "$1"; then pins=(package.json package-lock.json); fi
  (cd "$here/$1" && shopt -s nullglob && cat ./*.patch "${pins[@]}") | sha256sum | cut -c1-16
}

version_of() { # family module
  (cd "$here/$1" && go list -mod=readonly -m -f '{{.Version}}' "$2")
}

# `git describe` does not reach a module's build: what clients and kubelet compare has to be set by hand, and so has the
# Kubernetes that Helm 3 renders for where it is asked for none.
flags_for() { # family
  local version p
  case $1 in
    kubernetes)
      p=k8s.io/component-base/version version=$(version_of kubernetes k8s.io/kubernetes)
      echo "-X $p.gitVersion=$version -X $p.gitMajor=$(cut -d. -f1 <<< "${version#v}") -X $p.gitMinor=$(cut -d. -f2 <<< "$version") -X $p.gitTreeState=clean"
      ;;
    helm3)
      p=helm.sh/helm/v3/pkg version=$(version_of helm3 k8s.io/client-go)
      version=$(cut -d. -f2 <<< "$version")
      echo "-X $p/chartutil.k8sVersionMajor=1 -X $p/chartutil.k8sVersionMinor=$version -X $p/lint/rules.k8sVersionMajor=1 -X $p/lint/rules.k8sVersionMinor=$version"
      ;;
  esac
}

# FerretDB reads its version from a file that its module lacks, and panics without it.
vendor_ferretdb() { # folder
  cd "$1"
  go mod vendor
  version_of ferretdb github.com/FerretDB/FerretDB > vendor/github.com/FerretDB/FerretDB/build/version/version.txt
  # Below a repository git would skip the files without an error.
  GIT_CEILING_DIRECTORIES=$(dirname "$1") git apply --directory=vendor/github.com/FerretDB/FerretDB "$here/ferretdb/lookup-by-id.patch"
}

build_go() { # family work-folder
  local family=$1 work=$2 mod=readonly
  cp "$here/$family/go.mod" "$here/$family/go.sum" "$work/"
  mkdir "$work/bin"
  if [ "$family" = ferretdb ]; then vendor_ferretdb "$work"; mod=vendor; fi
  cd "$work"
  CGO_ENABLED=0 go build -mod="$mod" -trimpath -ldflags "-s -w $(flags_for "$family")" -o bin/ tool
  case $family in
    etcd) mv bin/server bin/etcd ;;
    jaeger) mv bin/all-in-one bin/jaeger-all-in-one ;;
    helm3) mv bin/helm bin/helm3 ;;
  esac
}

# The program is the package's own, beside the packages that it needs; no package's install script runs.
build_npm() { # family work-folder
  local family=$1 work=$2
  mkdir "$work/bin"
  cp "$here/$family/package.json" "$here/$family/package-lock.json" "$work/bin/"
  npm ci --prefix "$work/bin" --omit=dev --ignore-scripts --no-audit --no-fund --loglevel=error >&2
  ln -s "node_modules/.bin/$family" "$work/bin/$family"
}

# Runs in a shell of its own, so that what it leaves half done is removed however it ends.
build() ( # family target-folder
  family=$1 out=$2 started=$SECONDS
  work=$(mktemp -d "$cache/build-$family.XXXXXX")
  trap 'rm -rf "$work"; [ -d "$out" ] || echo "error: building $family failed; its pins are in $here/$family" >&2' EXIT
  if is_npm "$family"; then build_npm "$family" "$work"; else build_go "$family" "$work"; fi
  rm -rf "$out"
  mv "$work/bin" "$out"
  echo "    built $family in $((SECONDS - started)) s" >&2
)

can_build() { # family
  local tool tools=(go)
  if is_npm "$1"; then tools=(node npm); fi
  for tool in "${tools[@]}"; do
    command -v "$tool" > /dev/null || { echo "error: $tool is needed to build $1: install it and try again" >&2; return 1; }
  done
}

# Two clones may ask at once: one builds, the other waits and finds it done.
provide() { # family
  local family=$1 out lock file
  out=$cache/tools/$family-$(key_of "$family")
  if [ ! -d "$out" ]; then
    can_build "$family"
    exec {lock}> "$cache/tools/$family.lock"
    flock "$lock"
    if [ ! -d "$out" ]; then
      echo "    building $family (once for these pins)" >&2
      build "$family" "$out"
    fi
    exec {lock}>&-
  fi
  for file in "$out"/*; do
    if [ -f "$file" ] && [ -x "$file" ]; then ln -sfn "$file" "$bin/$(basename "$file")"; fi
  done
}

all=()
for file in "$here"/*/go.mod "$here"/*/package-lock.json; do all+=("$(basename "$(dirname "$file")")"); done
# The folder of links is named by the content of all pins: clones with other versions have another one.
bin=$cache/bin/$(for family in "${all[@]}"; do key_of "$family"; done | sha256sum | cut -c1-16)
if [ "${1:-}" != --where ]; then
  mkdir -p "$bin" "$cache/tools"
  [ $# -gt 0 ] || set -- "${all[@]}"
  for family in "$@"; do
    [[ " ${all[*]} " == *" $family "* ]] || { echo "error: no tool family '$family'; there are: ${all[*]}" >&2; exit 2; }
    provide "$family" < /dev/null
  done
fi
echo "$bin"
