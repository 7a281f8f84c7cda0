#!/bin/sh
# Runs PostgreSQL as whatever user the pod has, with the official image's settings: POSTGRES_USER, POSTGRES_PASSWORD or
# POSTGRES_PASSWORD_FILE, POSTGRES_DB, POSTGRES_INITDB_ARGS, PGDATA. No step here needs root.
set -eu
bin=/usr/lib/postgresql/15/bin
export PGDATA="${PGDATA:-/var/lib/postgresql/data}"
user=${POSTGRES_USER:-postgres}
database=${POSTGRES_DB:-$user}

# Made beside its place and moved there when it is whole: one that was killed half way is made anew.
make_database() {
  new=$PGDATA.new
  secret=$(mktemp)
  trap 'rm -f "$secret"' EXIT
  if [ -n "${POSTGRES_PASSWORD_FILE:-}" ]; then cat "$POSTGRES_PASSWORD_FILE" > "$secret"; else printf %s "${POSTGRES_PASSWORD:-}" > "$secret"; fi
  [ -s "$secret" ] || { echo "error: POSTGRES_PASSWORD or POSTGRES_PASSWORD_FILE has to say the password of $user" >&2; exit 1; }
  rm -rf "$new"
  # shellcheck disable=SC2086  # arguments, as the official image takes them
  "$bin/initdb" --pgdata "$new" --username "$user" --pwfile "$secret" --encoding UTF8 --locale C.UTF-8 \
    --auth-local trust --auth-host scram-sha-256 ${POSTGRES_INITDB_ARGS:-} > /dev/null
  echo 'host all all all scram-sha-256' >> "$new/pg_hba.conf"
  if [ "$database" != postgres ]; then
    printf 'CREATE DATABASE "%s";\n' "$(printf %s "$database" | sed 's/"/""/g')" |
      "$bin/postgres" --single -j -D "$new" postgres > /dev/null
  fi
  mv "$new" "$PGDATA"
  rm -f "$secret"
  trap - EXIT
  echo "made the database $database of $user"
}

mkdir -p "$(dirname "$PGDATA")"
[ -w "$(dirname "$PGDATA")" ] || { echo "error: $(dirname "$PGDATA") is not writable by uid $(id -u): give the pod an fsGroup or the volume another owner" >&2; exit 1; }
[ -s "$PGDATA/PG_VERSION" ] || make_database
# kubelet gives a volume's files to the pod's group; the server refuses a folder that others may read.
chmod 700 "$PGDATA"
exec "$bin/postgres" -c listen_addresses='*' -c unix_socket_directories=/var/run/postgresql "$@"
