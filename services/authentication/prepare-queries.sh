#!/usr/bin/env bash
# Regenerates .sqlx, PostgreSQL's descriptions of all checked queries, so that builds need no database.
# Requires the Debian package postgresql. Starts a temporary server.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

bin=/usr/lib/postgresql/15/bin
state=$(mktemp -d)
socket=$state/socket
chmod 755 "$state"
mkdir "$socket"

# PostgreSQL refuses to run as root.
as_owner() { # command…
  if [ "$(id -u)" -eq 0 ]; then setpriv --reuid=postgres --regid=postgres --clear-groups -- "$@"; else "$@"; fi
}

stop() {
  (cd "$state" && as_owner "$bin/pg_ctl" --pgdata="$state/data" --mode=immediate stop > /dev/null 2>&1) || true
  rm -rf "$state"
}
trap stop EXIT

if [ "$(id -u)" -eq 0 ]; then chown postgres: "$state" "$socket"; fi
(
  cd "$state"
  as_owner "$bin/initdb" --pgdata="$state/data" --username=weft --auth=trust --encoding=UTF8 --locale=C.UTF-8 --no-sync
  as_owner "$bin/pg_ctl" --pgdata="$state/data" --log="$state/log" --wait \
    --options="-c listen_addresses= -c unix_socket_directories=$socket" start
) > "$state/output" 2>&1 || { cat "$state/output" >&2; exit 1; }
for migration in migrations/*.sql; do
  "$bin/psql" --host="$socket" --username=weft --dbname=postgres --quiet --set=ON_ERROR_STOP=1 --file="$migration"
done

mkdir -p .sqlx
rm -f .sqlx/query-*.json
# The macros run only when the crate is compiled.
touch src/lib.rs
SQLX_OFFLINE=false SQLX_OFFLINE_DIR=$PWD/.sqlx \
  DATABASE_URL="postgres://weft@localhost/postgres?host=$socket" \
  cargo build --release --package weft-authentication --lib
