#!/bin/sh
# What the official image's entry point does for a first start: a cluster with one role, one database and a password.
set -eu
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  user=${POSTGRES_USER:-postgres}
  password=${POSTGRES_PASSWORD:-$(cat "${POSTGRES_PASSWORD_FILE:?POSTGRES_PASSWORD or POSTGRES_PASSWORD_FILE is required}")}
  umask 077
  printf '%s\n' "$password" >/tmp/password
  initdb --username="$user" --pwfile=/tmp/password --auth-local=trust --auth-host=scram-sha-256 --encoding=UTF8 >/dev/null
  rm /tmp/password
  echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
  # Until the database is there nobody may find a server on the network, or health conditions would be met too early.
  pg_ctl --wait start -o "-c listen_addresses=''" >/dev/null
  [ "${POSTGRES_DB:-$user}" = postgres ] || createdb --username="$user" "${POSTGRES_DB:-$user}"
  pg_ctl --wait stop >/dev/null
fi
exec postgres -c listen_addresses='*' "$@"
