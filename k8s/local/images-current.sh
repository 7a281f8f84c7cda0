#!/usr/bin/env bash
# CLUSTER=current: builds the images from source with this machine's Docker, pushes them to REGISTRY, and writes chart
# values that name them. The stores' images are the chart's own, the official ones.
# usage: [REGISTRY=registry.example/team] images-current.sh <values file>
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
values=$1
for tool in docker kubectl helm git jq; do command -v "$tool" > /dev/null || die "CLUSTER=current needs $tool on PATH"; done
context=$(kubectl config current-context) || die "kubectl has no current context: choose one with 'kubectl config use-context'"
docker version > /dev/null 2>&1 || die "Docker does not answer: start it, or set DOCKER_HOST"
say "    cluster: $context"

# One tag for the state of the sources: the commit's tree and what differs from it.
tag=$(cd "$WEFT_ROOT" && { git ls-files -s; git diff HEAD; git ls-files -o --exclude-standard -z | xargs -0r cat; } | sha256sum | cut -c1-12)
prefix=${REGISTRY:-localhost}
if [ -z "${REGISTRY:-}" ]; then
  case $context in
    docker-desktop | minikube | orbstack | rancher-desktop)
      say "    no REGISTRY given: $context is taken to see the images of this machine's Docker" ;;
    *) die "REGISTRY is needed: the nodes of '$context' cannot see the images that are built here. Give a registry that they can pull from: REGISTRY=registry.example/team CLUSTER=current make up" ;;
  esac
fi

for name in broker authentication logger mail listener frontend weft-operator; do
  image=$prefix/weft-${name#weft-}:$tag
  docker image inspect "$image" > /dev/null 2>&1 || docker build --quiet --build-arg "BIN=$name" --tag "$image" "$WEFT_ROOT" > /dev/null
  [ -z "${REGISTRY:-}" ] || docker push --quiet "$image" > /dev/null
done
version=$(sed -n '/^\[workspace.package\]/,/^\[/ s/^version = "\(.*\)"/\1/p' "$WEFT_ROOT/Cargo.toml")
mkdir -p "$(dirname "$values")"
cat > "$values" << YAML
# Written by k8s/local/images-current.sh.
image: {repository: $prefix/weft-operator, tag: "$tag"}
versions:
  "$version":
    broker: $prefix/weft-broker:$tag
    logger: $prefix/weft-logger:$tag
    listener: $prefix/weft-listener:$tag
    authentication: $prefix/weft-authentication:$tag
    mail: $prefix/weft-mail:$tag
    frontend: $prefix/weft-frontend:$tag
YAML
