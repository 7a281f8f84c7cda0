# shellcheck shell=bash
# What every script of this folder shares: where things are, how a step is told, how a run ends with its reason.

WEFT_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
WEFT_LOCAL=$WEFT_ROOT/k8s/local
WEFT_STATE=${WEFT_STATE:-/var/lib/weft}
WEFT_CACHE=${WEFT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/weft}
CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$WEFT_ROOT/target}
case $CARGO_TARGET_DIR in /*) ;; *) CARGO_TARGET_DIR=$PWD/$CARGO_TARGET_DIR ;; esac
WEFT_BIN_DIR=$CARGO_TARGET_DIR/release
export WEFT_LOCAL WEFT_STATE WEFT_CACHE CARGO_TARGET_DIR WEFT_BIN_DIR

say() { printf '%s\n' "$*" >&2; }
die() { say "error: $*"; exit 1; }

# Runs a command as a named step: what it is, then how long it took. Its exit status is the command's.
step() { # name command…
  local name=$1 started code=0
  shift
  started=$(date +%s%N)
  say "--> $name"
  "$@" || code=$?
  local took=$((($(date +%s%N) - started) / 1000000))
  if [ "$code" -ne 0 ]; then
    say "error: step '$name' failed after $(seconds "$took") s (exit status $code)"
    return "$code"
  fi
  say "    $name: $(seconds "$took") s"
}

seconds() { # milliseconds
  printf '%d.%d' $(($1 / 1000)) $(($1 % 1000 / 100))
}

# Repeats a check until it holds; the last lines of its output explain a failure.
await() { # what seconds command…
  local what=$1 limit=$2 said deadline
  shift 2
  deadline=$((SECONDS + limit))
  until said=$("$@" 2>&1); do
    if [ "$SECONDS" -ge "$deadline" ]; then
      say "error: $what did not come within $limit s${said:+: $(tail -n 3 <<< "$said")}"
      return 1
    fi
    sleep 0.1
  done
}

# A process is known by its pid, its start time and the boot it belongs to: a pid file that outlived its process,
# or the machine, never points to somebody else's.
process_identity() { # pid
  local stat
  read -r stat 2> /dev/null < "/proc/$1/stat" || return 1
  # The command's name stands in brackets and may hold spaces: fields are counted after it; the 20th is the start time.
  read -r -a stat <<< "${stat##*) }"
  [ "${stat[0]}" != Z ] || return 1
  echo "$1 ${stat[19]} $(cat /proc/sys/kernel/random/boot_id)"
}

alive() { # pid file
  local known pid
  read -r known 2> /dev/null < "$1" || return 1
  pid=${known%% *}
  [ -n "$pid" ] && [ "$(process_identity "$pid")" = "$known" ]
}

# Ends the process of a pid file, politely first, and removes the file.
end_process() { # pid file [seconds]
  local file=$1 limit=${2:-10} pid deadline
  if alive "$file"; then
    read -r pid _ < "$file"
    kill "$pid" 2> /dev/null || true
    deadline=$((SECONDS + limit))
    while alive "$file" && [ "$SECONDS" -lt "$deadline" ]; do sleep 0.05; done
    if alive "$file"; then kill -KILL "$pid" 2> /dev/null || true; fi
  fi
  rm -f "$file"
}

# One hash over files, independent of where the checkout lies.
content_key() { # file…
  cat "$@" | sha256sum | cut -c1-16
}

# Only the newest few of what is kept by content are worth their space.
keep_newest() { # count path-prefix
  local count=$1 prefix=$2 old
  # shellcheck disable=SC2012  # names are ours: a prefix and a hash
  { ls -1dt "$prefix"* 2> /dev/null || true; } | tail -n +$((count + 1)) | while read -r old; do rm -rf "$old"; done
}
