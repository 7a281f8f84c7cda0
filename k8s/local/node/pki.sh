#!/usr/bin/env bash
# The node's certificate authority, certificates and kubeconfigs. Made once: kept data was signed and sealed with them.
# usage: WEFT_STATE=… node/pki.sh <node's address>
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
node_ip=$1 pki=$WEFT_STATE/pki
[ ! -f "$pki/done" ] || exit 0

key() { openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1"; }

issue() { # name subject alternative-names
  key "$pki/$1.key"
  openssl req -new -key "$pki/$1.key" -out "$pki/$1.csr" -subj "$2"
  openssl x509 -req -in "$pki/$1.csr" -CA "$pki/ca.crt" -CAkey "$pki/ca.key" -CAcreateserial -days 3650 -out "$pki/$1.crt" \
    -extfile <(printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth,clientAuth\n' "$3")
}

kubeconfig() { # name
  cat > "$pki/$1.kubeconfig" << YAML
apiVersion: v1
kind: Config
clusters: [{name: weft, cluster: {server: "https://$node_ip:6443", certificate-authority: "$pki/ca.crt"}}]
users: [{name: $1, user: {client-certificate: "$pki/$1.crt", client-key: "$pki/$1.key"}}]
contexts: [{name: weft, context: {cluster: weft, user: $1}}]
current-context: weft
YAML
}

rm -rf "$pki"
mkdir -p "$pki"
chmod 700 "$pki"
exec 2> "$pki/openssl.log"
key "$pki/ca.key"
openssl req -x509 -new -key "$pki/ca.key" -days 3650 -out "$pki/ca.crt" -subj /CN=weft-local
key "$pki/sa.key"
openssl pkey -in "$pki/sa.key" -pubout -out "$pki/sa.pub"
issue apiserver /CN=kube-apiserver "DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:localhost,IP:127.0.0.1,IP:10.96.0.1,IP:$node_ip"
issue admin /O=system:masters/CN=admin DNS:admin
issue controller-manager /CN=system:kube-controller-manager DNS:controller-manager
issue scheduler /CN=system:kube-scheduler DNS:scheduler
issue kubelet /O=system:nodes/CN=system:node:node1 "DNS:node1,IP:127.0.0.1,IP:$node_ip"
issue proxy /CN=system:kube-proxy DNS:proxy
for name in admin controller-manager scheduler kubelet proxy; do kubeconfig "$name"; done
touch "$pki/done"
