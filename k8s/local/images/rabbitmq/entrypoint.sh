#!/bin/sh
# Runs RabbitMQ as whatever user the pod has: no step here needs root, nothing is written outside the data folder.
# RABBITMQ_DEFAULT_USER and RABBITMQ_DEFAULT_PASS are read by the server itself, when it makes its database.
set -eu
data=/var/lib/rabbitmq
[ -w "$data" ] || { echo "error: $data is not writable by uid $(id -u): give the pod an fsGroup or the volume another owner" >&2; exit 1; }

# The data carries the node's name: a fixed one, because a new pod has another host name.
export HOME="$data" RABBITMQ_NODENAME="${RABBITMQ_NODENAME:-rabbit@localhost}" RABBITMQ_LOGS=- RABBITMQ_MNESIA_BASE="$data/mnesia"
export RABBITMQ_ENABLED_PLUGINS_FILE="${RABBITMQ_ENABLED_PLUGINS_FILE:-$data/enabled_plugins}" RABBITMQ_CONF_ENV_FILE=/dev/null
export RABBITMQ_LOG_BASE="$data/log" ERL_CRASH_DUMP=/dev/null ERL_EPMD_ADDRESS=127.0.0.1
# kubelet gives a volume's files to the pod's group each time it mounts them; Erlang refuses a cookie that others may read.
[ ! -f "$data/.erlang.cookie" ] || chmod 600 "$data/.erlang.cookie"
# An empty list: the server would otherwise look for the file where it may not write.
[ -f "$RABBITMQ_ENABLED_PLUGINS_FILE" ] || echo '[].' > "$RABBITMQ_ENABLED_PLUGINS_FILE"

# Erlang sees the machine's memory, not the pod's: its alarm has to come before the kernel ends the pod.
limit=$(cat /sys/fs/cgroup/memory.max 2> /dev/null || cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2> /dev/null || echo max)
total=$(($(sed -n 's/^MemTotal: *\([0-9]*\) kB/\1/p' /proc/meminfo) * 1024))
if [ "$limit" != max ] && [ "${#limit}" -le 15 ] && [ "$limit" -lt "$total" ]; then memory="-rabbit total_memory_available_override_value $limit"; fi

# Schedulers that spin while they wait would take a small node's processors from everyone else.
export RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="+sbwt none +sbwtdcpu none +sbwtdio none -kernel inet_dist_use_interface {127,0,0,1} ${memory:-} ${RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS:-}"
exec /usr/lib/rabbitmq/bin/rabbitmq-server "$@"
