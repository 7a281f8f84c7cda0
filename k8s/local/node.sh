#!/usr/bin/env bash
# A real single-node Kubernetes from the binaries of tools/build.sh, with all its state in one folder.
# usage: [WEFT_STATE=/var/lib/weft] node.sh up|down|status|env
#   up      brings it up, or mends what is down; keeps a healthy one; never loses etcd's data and keeps its volumes
#   down    ends and erases exactly what up made
#   status  NAME=value lines; exit status 0 when the node is ready, else 3
#   env     KUBECONFIG and BIN as NAME=value lines
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
NODE_IP=10.88.0.1 PODS=10.244.0.0/24 SERVICES=10.96.0.0/16 DNS_IP=10.96.0.10
. "$WEFT_LOCAL/node/components.sh"
. "$WEFT_LOCAL/node/clean.sh"
BIN=$("$WEFT_LOCAL/tools/build.sh" --where)
export PATH=$BIN:/usr/sbin:/sbin:$PATH KUBECONFIG=$WEFT_STATE/pki/admin.kubeconfig

node_key() { # what a running node was made from; another one means that it has to start anew
  local tool
  { cat "$WEFT_LOCAL/node.sh" "$WEFT_LOCAL"/node/*
    for tool in "$BIN"/{kubelet,etcd,coredns}; do readlink -f "$tool" || true; done; } | sha256sum | cut -c1-16
}

node_ready() {
  [ "$(kubectl get node node1 --request-timeout=5s -o jsonpath='{.status.conditions[?(@.type=="Ready")].status}')" = True ]
}

healthy() {
  local name
  [ "$(cat "$WEFT_STATE/key" 2> /dev/null)" = "$(node_key)" ] || return 1
  for name in "${COMPONENTS[@]}"; do alive "$WEFT_STATE/run/$name.pid" || return 1; done
  is_ready kube-apiserver > /dev/null 2>&1 && is_ready kubelet > /dev/null 2>&1 && node_ready > /dev/null 2>&1
}

# The machine's own settings, as they were before: `down` puts them back.
remember_settings() {
  local name
  [ ! -f "$WEFT_STATE/settings" ] || return 0
  for name in net.ipv4.ip_forward net.ipv4.conf.all.route_localnet; do
    echo "$name=$(sysctl -n "$name" 2> /dev/null || echo 0)"
  done > "$WEFT_STATE/settings"
}

prepare() {
  mkdir -p "$WEFT_STATE"/{run,log,volumes,images}
  remember_settings
  "$WEFT_LOCAL/node/pki.sh" "$NODE_IP"
  "$WEFT_LOCAL/images/system.sh" "$WEFT_STATE/images"
  "$WEFT_LOCAL/node/config.sh" "$NODE_IP" "$PODS" "$DNS_IP" "$(sed -n 's/^pause=//p' "$WEFT_STATE/images/refs")"
  ip address replace "$NODE_IP/32" dev lo
  sysctl -qw net.ipv4.ip_forward=1
}

import_system_images() {
  local have name ref
  have=$(ctr -a "$WEFT_STATE/containerd.sock" -n k8s.io images list -q)
  while IFS='=' read -r name ref; do
    grep -qxF "$ref" <<< "$have" ||
      ctr -a "$WEFT_STATE/containerd.sock" -n k8s.io images import "$WEFT_STATE/images/$name.tar" > /dev/null
  done < "$WEFT_STATE/images/refs"
}

# Data that etcd itself calls broken can't be kept, and then its volumes must go too: new passwords never meet old data.
start_etcd() {
  if [ ! -d "$WEFT_STATE/etcd/member" ]; then rm -rf --one-file-system "$WEFT_STATE"/{etcd,volumes}; fi
  mkdir -p "$WEFT_STATE/volumes"
  launch etcd
  wait_for etcd && return
  grep -qiE 'panic|corrupt|failed to (open|recover|read)|crc mismatch|unexpected EOF|walpb|snap:' "$WEFT_STATE/log/etcd.log" || return 1
  say "    etcd cannot read its data: it and the volumes that belong to it are erased"
  end_process "$WEFT_STATE/run/etcd.pid"
  rm -rf --one-file-system "$WEFT_STATE"/{etcd,volumes}
  mkdir -p "$WEFT_STATE/volumes"
  launch etcd
  wait_for etcd
}

start_component() {
  local name=$1
  alive "$WEFT_STATE/run/$name.pid" && is_ready "$name" > /dev/null 2>&1 && return
  end_process "$WEFT_STATE/run/$name.pid"
  case $name in
    etcd) start_etcd ;;
    *) launch "$name"; wait_for "$name" ;;
  esac || exit 1
  [ "$name" != containerd ] || import_system_images
}

# Pods whose processes are gone would be called ready until kubelet looks: their controllers make new ones instead.
drop_dead_pods() {
  local namespace names
  kubectl get pods --all-namespaces -o json |
    jq -r '.items | map(select(.metadata.ownerReferences)) | group_by(.metadata.namespace)[] | map(.metadata.name) as $names
      | [.[0].metadata.namespace, ($names | join(" "))] | @tsv' |
    while IFS=$'\t' read -r namespace names; do
      # shellcheck disable=SC2086  # a list of names
      kubectl -n "$namespace" delete pods --force --grace-period=0 --wait=false $names > /dev/null 2>&1
    done
}

apply_cluster_objects() {
  local coredns
  coredns=$(sed -n 's/^coredns=//p' "$WEFT_STATE/images/refs")
  sed -e "s#DNS_IP#$DNS_IP#" -e "s#COREDNS#$coredns#" "$WEFT_LOCAL/node/cluster.yaml" | kubectl apply -f - > /dev/null
}

# All at once but the two that others write to; nothing of what is ended has data to save that is not in etcd.
stop_all() {
  local name pid
  for name in volumes kube-proxy kubelet kube-scheduler kube-controller-manager kube-apiserver; do
    if alive "$WEFT_STATE/run/$name.pid"; then read -r pid _ < "$WEFT_STATE/run/$name.pid"; kill "$pid" 2> /dev/null || true; fi
  done
  for name in volumes kube-proxy kubelet kube-scheduler kube-controller-manager kube-apiserver; do
    end_process "$WEFT_STATE/run/$name.pid" 3
  done
  end_process "$WEFT_STATE/run/etcd.pid"
  end_process "$WEFT_STATE/run/containerd.pid"
}

up() {
  local name cleaned=false
  if healthy; then say "    the node is up"; return; fi
  "$WEFT_LOCAL/tools/build.sh" coredns etcd kubernetes > /dev/null
  mkdir -p "$WEFT_STATE/run"
  end_abandoned_test
  # Another version's programs, or no containerd to hold the pods: nothing that runs is worth keeping, the data is.
  if [ "$(cat "$WEFT_STATE/key" 2> /dev/null)" != "$(node_key)" ] || ! alive "$WEFT_STATE/run/containerd.pid"; then
    stop_all
    refuse_taken_ports
    clean_machine
    cleaned=true
  fi
  refuse_taken_ports
  rm -f "$WEFT_STATE/key"
  prepare
  for name in "${COMPONENTS[@]}"; do
    start_component "$name"
    if [ "$cleaned $name" = "true kube-apiserver" ]; then drop_dead_pods; fi
  done
  await "a ready node" 120 node_ready || exit 1
  apply_cluster_objects
  kubectl -n kube-system rollout status deployment/coredns --timeout=120s > /dev/null || die "the cluster's DNS did not come up; see kubectl -n kube-system describe pods"
  node_key > "$WEFT_STATE/key"
}

# A test run that was killed could not take its node down; nobody uses that node any more.
end_abandoned_test() {
  local other=/var/lib/weft-test
  [ "$WEFT_STATE" != "$other" ] && [ -f "$other/run/owner.pid" ] && ! alive "$other/run/owner.pid" || return 0
  say "    taking down the node that a killed test run left in $other"
  WEFT_STATE=$other bash "${BASH_SOURCE[0]}" down --locked
}

down() {
  [ -d "$WEFT_STATE" ] || { say "    there is no node in $WEFT_STATE"; return; }
  [ -d "$WEFT_STATE/run" ] || [ -z "$(ls -A "$WEFT_STATE")" ] || die "$WEFT_STATE has no node of Weft: nothing is erased"
  end_process "$WEFT_STATE/run/dockerd.pid"
  stop_all
  clean_machine
  if ! another_node_runs; then
    ip address delete "$NODE_IP/32" dev lo 2> /dev/null || true
    if [ -f "$WEFT_STATE/settings" ]; then sysctl -q -p "$WEFT_STATE/settings" 2> /dev/null || true; fi
  fi
  rm -rf --one-file-system "$WEFT_STATE"
}

status() {
  local name ready=false
  for name in "${COMPONENTS[@]}"; do
    if alive "$WEFT_STATE/run/$name.pid"; then echo "$name=running"; else echo "$name=stopped"; fi
  done
  if healthy; then ready=true; fi
  echo "STATE=$WEFT_STATE"
  echo "READY=$ready"
  [ "$ready" = true ] || exit 3
}

# One at a time on a machine: address, bridge and ports exist once.
lock() {
  exec 9> /run/lock/weft-node
  flock -w 600 9 || die "another node.sh has been running for ten minutes: see 'fuser /run/lock/weft-node'"
}

case ${1:-} in
  up | down)
    [ "$(id -u)" -eq 0 ] || die "only root can run a node (make dev needs no root)"
    case $WEFT_STATE in /*) ;; *) die "WEFT_STATE must be an absolute path, not '$WEFT_STATE'" ;; esac
    [ "${2:-}" = --locked ] || lock
    "$1"
    ;;
  status) status ;;
  env) printf 'KUBECONFIG=%s\nBIN=%s\n' "$KUBECONFIG" "$BIN" ;;
  *) die "usage: node.sh up|down|status|env" ;;
esac
