# shellcheck shell=bash
# The node's programs: in which order they start, with what, on which ports, and when each is up. Sourced by node.sh.

COMPONENTS=(containerd etcd kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy volumes)

ports_of() { # component
  case $1 in
    etcd) echo 2379 2380 ;;
    kube-apiserver) echo 6443 ;;
    kube-controller-manager) echo 10257 ;;
    kube-scheduler) echo 10259 ;;
    kubelet) echo 10248 10250 ;;
    kube-proxy) echo 10249 10256 ;;
  esac
}

command_of() { # component; fills `command`
  local pki=$WEFT_STATE/pki config=$WEFT_STATE/config
  case $1 in
    containerd) command=(containerd -c "$config/containerd.toml") ;;
    # The data outlives a killed process without fsync; that it may not outlive a power cut is fine here.
    etcd) command=(etcd --data-dir "$WEFT_STATE/etcd" --unsafe-no-fsync --log-level warn
      --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379
      --listen-peer-urls http://127.0.0.1:2380 --auto-compaction-mode=periodic --auto-compaction-retention=10m) ;;
    kube-apiserver) command=(kube-apiserver --etcd-servers=http://127.0.0.1:2379 --service-cluster-ip-range="$SERVICES"
      --bind-address="$NODE_IP" --advertise-address="$NODE_IP" --kubelet-preferred-address-types=InternalIP
      --client-ca-file="$pki/ca.crt" --tls-cert-file="$pki/apiserver.crt" --tls-private-key-file="$pki/apiserver.key"
      --service-account-key-file="$pki/sa.pub" --service-account-signing-key-file="$pki/sa.key"
      --service-account-issuer=https://kubernetes.default.svc "--authorization-mode=Node,RBAC" --anonymous-auth=false
      --enable-admission-plugins=NodeRestriction --allow-privileged=true --profiling=false
      --kubelet-client-certificate="$pki/admin.crt" --kubelet-client-key="$pki/admin.key") ;;
    kube-controller-manager) command=(kube-controller-manager --kubeconfig "$pki/controller-manager.kubeconfig"
      --leader-elect=false --bind-address=127.0.0.1 --use-service-account-credentials --root-ca-file="$pki/ca.crt"
      --service-account-private-key-file="$pki/sa.key" --cluster-signing-cert-file="$pki/ca.crt"
      --cluster-signing-key-file="$pki/ca.key") ;;
    kube-scheduler) command=(kube-scheduler --kubeconfig "$pki/scheduler.kubeconfig" --leader-elect=false
      --bind-address=127.0.0.1) ;;
    kubelet) command=(kubelet --config "$config/kubelet.yaml" --kubeconfig "$pki/kubelet.kubeconfig"
      --hostname-override=node1 --node-ip="$NODE_IP" --root-dir="$WEFT_STATE/kubelet"
      --cert-dir="$WEFT_STATE/kubelet/pki") ;;
    kube-proxy) command=(kube-proxy --config "$config/kube-proxy.yaml") ;;
    volumes) command=(bash "$WEFT_LOCAL/node/volumes.sh") ;;
  esac
}

ready_seconds_of() { # component: how long a slow, busy machine may take
  case $1 in
    kube-apiserver | kubelet) echo 120 ;;
    *) echo 60 ;;
  esac
}

is_ready() { # component
  case $1 in
    containerd) timeout 5 ctr -a "$WEFT_STATE/containerd.sock" version ;;
    etcd) curl -sf --max-time 2 http://127.0.0.1:2379/readyz ;;
    kube-apiserver) timeout 10 kubectl get --raw /readyz ;;
    kubelet) curl -sf --max-time 2 http://127.0.0.1:10248/healthz ;;
    kube-proxy) curl -sf --max-time 2 http://127.0.0.1:10256/healthz ;;
    kube-controller-manager) curl -skf --max-time 2 https://127.0.0.1:10257/healthz ;;
    kube-scheduler) curl -skf --max-time 2 https://127.0.0.1:10259/healthz ;;
    volumes) return 0 ;;
  esac
}

is_up() { # component
  alive "$WEFT_STATE/run/$1.pid" && is_ready "$1"
}

# Alive at once or never: a program that ended has said why in its log, and waiting longer tells nothing.
up_or_ended() { # component
  is_up "$1" || ! alive "$WEFT_STATE/run/$1.pid"
}

launch() { # component
  local name=$1 log=$WEFT_STATE/log/$1.log command=()
  command_of "$name"
  [ ! -f "$log" ] || mv -f "$log" "$log.before"
  # 9 is this script's lock: a program that held it would keep every later call out.
  setsid "${command[@]}" > "$log" 2>&1 < /dev/null 9>&- &
  process_identity $! > "$WEFT_STATE/run/$name.pid" || true
}

wait_for() { # component
  local name=$1
  await "$name" "$(ready_seconds_of "$name")" up_or_ended "$name" || return 1
  alive "$WEFT_STATE/run/$name.pid" && return
  say "error: $name ended right after its start; the end of $WEFT_STATE/log/$name.log:"
  tail -n 5 "$WEFT_STATE/log/$name.log" | cut -c1-300 >&2
  return 1
}

# The state folder of the Weft node that a process belongs to, if it belongs to one.
state_of() { # pid
  [ -r "/proc/${1:-none}/environ" ] || return 0
  tr '\0' '\n' < "/proc/$1/environ" 2> /dev/null | sed -n 's/^WEFT_STATE=//p'
}

pid_on_port() { # port
  ss -Hltnp "sport = :$1" | grep -oE 'pid=[0-9]+' | sed -n '1s/pid=//p'
}

# Bridge, address and firewall rules exist once on a machine: they belong to the node that runs.
another_node_runs() {
  local state
  state=$(state_of "$(pid_on_port 2379 || true)" || true)
  [ -n "$state" ] && [ "$state" != "$WEFT_STATE" ]
}

# Who else holds a port that one of ours is about to need.
refuse_taken_ports() {
  local name port pid state
  for name in "${COMPONENTS[@]}"; do
    alive "$WEFT_STATE/run/$name.pid" && continue
    for port in $(ports_of "$name"); do
      [ -n "$(ss -Hltn "sport = :$port")" ] || continue
      pid=$(pid_on_port "$port" || true)
      state=$(state_of "$pid" || true)
      if [ -n "$state" ] && [ "$state" != "$WEFT_STATE" ]; then
        die "another Weft node, with its state in $state, holds port $port: end it with 'WEFT_STATE=$state $WEFT_LOCAL/node.sh down'"
      elif [ -n "$state" ]; then
        say "    ending $name (pid $pid) of an earlier start"
        kill -KILL "$pid" 2> /dev/null || true
        await "end of pid $pid" 5 test ! -d "/proc/$pid" || exit 1
      else
        die "port $port, which $name needs, is taken by $(tr '\0' ' ' < "/proc/${pid:-0}/cmdline" 2> /dev/null | cut -c1-80)(pid ${pid:-unknown}): end that first"
      fi
    done
  done
}
