#!/usr/bin/env bash
# Makes the volumes of StorageClass `local`: a fresh folder for each claim that waits for one, erased when it is released.
# `local` volumes, not hostPath: kubelet applies a pod's fsGroup to them.
# Runs until it is ended. It follows the API server's events; a round lasts a minute at most and begins with
# everything there is, so that what failed, or was missed while the server was away, is done by the next.
# usage: WEFT_STATE=… KUBECONFIG=… node/volumes.sh      (kubectl and jq on PATH)
set -uo pipefail
PROVISIONER=weft.dev/local
: "${WEFT_STATE:?}" "${KUBECONFIG:?}"
export PROVISIONER
volumes=$WEFT_STATE/volumes
mkdir -p "$volumes"

# What the round's watches run as is ended with this process.
trap 'trap - TERM; kill 0' TERM INT

follow() { # kind jq-filter
  kubectl get "$1" --all-namespaces --watch --request-timeout=60s -o json 2> /dev/null |
    jq --unbuffered -r "$2 | @tsv"
}

# Claims of our class whose pod has a place.
follow_claims() {
  # shellcheck disable=SC2016  # jq's own variables
  follow persistentvolumeclaims 'select(.status.phase == "Pending" and .metadata.deletionTimestamp == null
    and .metadata.annotations["volume.kubernetes.io/storage-provisioner"] == env.PROVISIONER
    and .metadata.annotations["volume.kubernetes.io/selected-node"] != null)
    | ["make", .metadata.uid, .metadata.namespace, .metadata.name, .spec.storageClassName,
       .spec.resources.requests.storage, .metadata.annotations["volume.kubernetes.io/selected-node"],
       (.spec.accessModes | tojson)]'
}

follow_volumes() {
  follow persistentvolumes 'select(.metadata.annotations["pv.kubernetes.io/provisioned-by"] == env.PROVISIONER
    and (.status.phase == "Released" or .status.phase == "Failed") and .spec.persistentVolumeReclaimPolicy == "Delete")
    | ["erase", .metadata.name, .spec.local.path]'
}

make_volume() { # uid namespace claim class size node modes
  local name=pvc-$1 path=$volumes/pvc-$1
  kubectl get persistentvolume "$name" > /dev/null 2>&1 && return
  mkdir -p "$path"
  # Whatever uid a store runs as may write, also where its pod has no fsGroup.
  chmod 0777 "$path"
  kubectl create -f - > /dev/null << YAML && echo "made $name for $2/$3"
apiVersion: v1
kind: PersistentVolume
metadata: {name: $name, annotations: {pv.kubernetes.io/provisioned-by: $PROVISIONER}}
spec:
  capacity: {storage: $5}
  accessModes: $7
  persistentVolumeReclaimPolicy: Delete
  storageClassName: $4
  claimRef: {apiVersion: v1, kind: PersistentVolumeClaim, namespace: $2, name: $3, uid: $1}
  local: {path: "$path"}
  nodeAffinity: {required: {nodeSelectorTerms: [{matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [$6]}]}]}}
YAML
}

erase_volume() { # name path
  # Only a folder that make_volume can have made.
  [[ $1 =~ ^pvc-[0-9a-f-]{36}$ && $2 == "$volumes/$1" ]] || { echo "not ours, left alone: $1 at $2"; return; }
  rm -rf --one-file-system "$2" && kubectl delete persistentvolume "$1" --wait=false --ignore-not-found > /dev/null && echo "erased $1"
}

while :; do
  while IFS=$'\t' read -r what first rest; do
    IFS=$'\t' read -r -a fields <<< "$rest"
    case $what in
      make) make_volume "$first" "${fields[@]}" ;;
      erase) erase_volume "$first" "${fields[@]}" ;;
    esac
  done < <(follow_claims & follow_volumes & wait)
  sleep 0.5 # the server may be away: no busy loop
done
