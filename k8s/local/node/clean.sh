# shellcheck shell=bash
# Removes what a node leaves in the machine: pods' processes, mounts, its bridge, its firewall rules, its groups.
# Sourced by node.sh. Everything is found by what it is, not by what some file remembers: files and processes
# may have survived each other.

# Processes whose root file system is a snapshot of our containerd, and the shims that hold them.
pod_processes() {
  local file pid
  for file in /proc/[0-9]*/mountinfo; do
    pid=${file#/proc/}; pid=${pid%/mountinfo}
    if awk -v d="$WEFT_STATE/containerd/" '$5 == "/" && index($0, d) { found = 1 } END { exit !found }' "$file" 2> /dev/null; then
      echo "$pid"
    fi
  done
  pgrep -f "^[^ ]*containerd-shim.* -address $WEFT_STATE/containerd.sock" || true
}

end_pods() {
  local pids
  for _ in 1 2 3 4 5; do
    pids=$(pod_processes)
    [ -n "$pids" ] || return 0
    # shellcheck disable=SC2086  # a list of pids
    kill -KILL $pids 2> /dev/null || true
    sleep 0.2
  done
  die "these processes of pods in $WEFT_STATE do not end: $(tr '\n' ' ' <<< "$pids")"
}

our_mounts() {
  awk -v d="$WEFT_STATE/" 'index($5, d) == 1 { print $5 }' /proc/self/mountinfo | sort -r
}

unmount_all() {
  local mount
  for _ in 1 2 3; do
    our_mounts | while read -r mount; do umount -l "$mount" 2> /dev/null || true; done
    [ -n "$(our_mounts)" ] || return 0
  done
  # Going on would erase a volume through the mount that a pod had of it.
  die "cannot unmount $(our_mounts | head -n 1)"
}

# kube-proxy's chains, and those that the bridge plugin made for our pods' network; no other rule is touched.
unfilter() {
  local save chains table pattern
  for save in iptables-save ip6tables-save; do
    command -v "$save" > /dev/null || continue
    chains=$("$save" 2> /dev/null | grep -F weft-pods | grep -oE 'CNI-[0-9a-f]+' | sort -u || true)
    pattern=KUBE-${chains:+|${chains//$'\n'/|}}
    for table in nat filter mangle; do
      "$save" -t "$table" 2> /dev/null | grep -E "$pattern" > /dev/null || continue
      "$save" -t "$table" | grep -vE "$pattern" | "${save%-save}-restore" -w 10 -T "$table" ||
        say "    could not remove our rules from the table $table of ${save%-save}"
    done
  done
}

remove_groups() {
  local group
  for group in /sys/fs/cgroup/kubepods /sys/fs/cgroup/*/kubepods; do
    [ -d "$group" ] || continue
    find "$group" -depth -type d -exec rmdir {} + 2> /dev/null || true
  done
}

# Leaves data, images, keys and logs.
clean_machine() {
  end_pods
  unmount_all
  if ! another_node_runs; then
    ip link delete weft0 2> /dev/null || true
    unfilter
    remove_groups
    find /var/lib/cni/results -maxdepth 1 \( -name 'weft-pods-*' -o -name 'cni-loopback-*-lo' \) -delete 2> /dev/null || true
  fi
  rm -rf --one-file-system "$WEFT_STATE"/{kubelet,containerd-state,cni,containerd.sock,containerd.sock.ttrpc}
}
