#!/usr/bin/env bash
# `make urls`: NAME=value lines for the sample that `make up` runs.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
"$WEFT_LOCAL/node.sh" status > /dev/null || die "the node is not up: run 'make up' ('k8s/local/node.sh status' tells what is missing)"
settings=$("$WEFT_LOCAL/node.sh" env)
export KUBECONFIG
KUBECONFIG=$(sed -n 's/^KUBECONFIG=//p' <<< "$settings")
kubectl=$(sed -n 's/^BIN=//p' <<< "$settings")/kubectl

# The first user's, quoted for a shell: whoever made the Secret may have put anything into it.
admin() { # NAME key
  local value
  value=$(jq -r --arg key "$2" '.data[$key] // empty | @base64d' <<< "$secret")
  printf '%s=%q\n' "$1" "$value"
}

echo CONSOLE_URL=http://127.0.0.1:30081
echo BROKER_URL=http://127.0.0.1:30080
echo JAEGER_URL=http://127.0.0.1:30686
echo MAIL_URL=http://127.0.0.1:30025
if secret=$("$kubectl" --namespace shop get secret shop-admin -o json 2> /dev/null); then
  admin ADMIN_EMAIL email
  admin ADMIN_PASSWORD password
else
  say "Secret shop-admin is not there: ADMIN_EMAIL and ADMIN_PASSWORD are known to whoever took it away"
fi
echo "$settings"
echo NAMESPACE=shop
echo STACK=shop
