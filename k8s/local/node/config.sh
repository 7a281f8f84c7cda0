#!/usr/bin/env bash
# Writes the settings of containerd, the pods' network, kubelet and kube-proxy into the state folder.
# usage: WEFT_STATE=… node/config.sh <node's address> <pods' net> <cluster DNS address> <sandbox image>
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
node_ip=$1 pods=$2 dns_ip=$3 sandbox=$4
config=$WEFT_STATE/config
mkdir -p "$config/cni"

# restrict_oom_score_adj: without CAP_SYS_RESOURCE a sandbox's negative score makes runc fail.
containerd config default | sed \
  -e 's#^root = .*#root = "'"$WEFT_STATE"'/containerd"#' \
  -e 's#^state = .*#state = "'"$WEFT_STATE"'/containerd-state"#' \
  -e '/^\[grpc\]/,/^\[/ s#^  address = .*#  address = "'"$WEFT_STATE"'/containerd.sock"#' \
  -e 's#sandbox_image = .*#sandbox_image = "'"$sandbox"'"#' \
  -e 's#bin_dir = "/opt/cni/bin"#bin_dir = "/usr/lib/cni"#' \
  -e 's#conf_dir = "/etc/cni/net.d"#conf_dir = "'"$config"'/cni"#' \
  -e 's#disable_apparmor = false#disable_apparmor = true#' \
  -e 's#netns_mounts_under_state_dir = false#netns_mounts_under_state_dir = true#' \
  -e 's#path = "/opt/containerd"#path = "'"$WEFT_STATE"'/containerd-opt"#' \
  -e 's#restrict_oom_score_adj = false#restrict_oom_score_adj = true#' > "$config/containerd.toml"

cat > "$config/cni/10-weft.conflist" << JSON
{"cniVersion": "0.4.0", "name": "weft-pods", "plugins": [
  {"type": "bridge", "bridge": "weft0", "isGateway": true, "ipMasq": true, "hairpinMode": true,
   "ipam": {"type": "host-local", "dataDir": "$WEFT_STATE/cni", "ranges": [[{"subnet": "$pods"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
JSON

echo "nameserver 127.0.0.1" > "$config/resolv.conf"

cat > "$config/kubelet.yaml" << YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: $node_ip
authentication: {anonymous: {enabled: false}, x509: {clientCAFile: "$WEFT_STATE/pki/ca.crt"}, webhook: {enabled: true}}
authorization: {mode: Webhook}
tlsCertFile: $WEFT_STATE/pki/kubelet.crt
tlsPrivateKeyFile: $WEFT_STATE/pki/kubelet.key
containerRuntimeEndpoint: unix://$WEFT_STATE/containerd.sock
volumePluginDir: $WEFT_STATE/volume-plugins
cgroupDriver: cgroupfs
failCgroupV1: false
failSwapOn: false
localStorageCapacityIsolation: false
imageGCHighThresholdPercent: 100
serializeImagePulls: false
registryPullQPS: 50
registryBurst: 100
evictionHard: {memory.available: 100Mi, nodefs.available: "1%", imagefs.available: "1%"}
maxPods: 200
clusterDNS: [$dns_ip]
clusterDomain: cluster.local
resolvConf: $config/resolv.conf
YAML

# Ports of Services answer on loopback only: nothing of this node is offered to the network around it.
cat > "$config/kube-proxy.yaml" << YAML
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: iptables
clusterCIDR: $pods
hostnameOverride: node1
nodePortAddresses: [127.0.0.0/8]
clientConnection: {kubeconfig: "$WEFT_STATE/pki/proxy.kubeconfig"}
healthzBindAddress: 127.0.0.1:10256
metricsBindAddress: 127.0.0.1:10249
conntrack: {maxPerCore: 0}
YAML
