#!/bin/sh
# Puts a backup of backup.sh into an empty deployment.
#
# An engine refuses a registry that lags behind what it has seen: it cannot tell an old backup from an outdated
# orchestrator. So each engine gets the mark of the epoch it had reached, and the registry is raised to them.
set -eu

usage() {
  cat <<'TEXT'
usage: deploy/restore.sh FOLDER

Puts the backup in FOLDER into this deployment, which has to be empty: no engines, nothing in the database. It needs the
.env, or at least the ORCH_MASTER_KEY, that the backup's deployment had. Starts postgres; afterwards start the rest:

  docker compose up -d postgres orchestrator
TEXT
}

case ${1:-} in
  -h | --help)
    usage
    exit 0
    ;;
  '' | -*)
    usage >&2
    exit 64
    ;;
esac
case $1 in /*) source=$1 ;; *) source=$PWD/$1 ;; esac
cd "$(dirname "$0")/.."
. deploy/project.sh

[ -e "$source/SHA256SUMS" ] || fail "$source is no backup, or one that did not end: it has no SHA256SUMS."
say 'checking the backup …'
(cd "$source" && sha256sum --quiet -c SHA256SUMS) || fail "The backup is damaged: see above."

orchestrator=$(compose ps -q orchestrator)
[ -z "$orchestrator" ] || [ "$(docker inspect -f '{{.State.Running}}' "$orchestrator")" = false ] ||
  fail 'The orchestrator runs, and would work on a registry that is half there: docker compose stop orchestrator'
while read -r _ id _; do
  for volume in $(docker volume ls -q --filter "label=$OF_ENGINE=$id") $(docker volume ls -q --filter "name=^engine-data-$id\$"); do
    fail "The engine $id is here already (volume $volume): a restore needs a deployment without engines."
  done
done <"$source/manifest"

say 'starting postgres …'
compose up -d postgres >/dev/null
POSTGRES=$(compose ps -q postgres)
until [ "$(docker inspect -f '{{.State.Health.Status}}' "$POSTGRES")" = healthy ]; do
  [ "$(docker inspect -f '{{.State.Running}}' "$POSTGRES")" = true ] || fail 'postgres has ended: docker compose logs postgres'
  sleep 1
done
tables=$(in_postgres psql -U orch_user -d orchestrator -Atc "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'" </dev/null)
[ "$tables" = 0 ] || fail 'The database is not empty. To restore over it: docker compose down --volumes, which removes what it holds.'

say 'registry …'
in_postgres pg_restore -U orch_user -d orchestrator --no-owner --single-transaction <"$source/postgres.dump"

all=$(grep -c . "$source/manifest" || true)
count=0
while read -r _ id epoch; do
  count=$((count + 1))
  docker volume create --label "$OF_ENGINE=$id" --label "$OF_NETWORK=$NETWORK" "engine-data-$id" >/dev/null
  in_data "$id" -- tar -C /data -xf - <"$source/engines/$id/files.tar"
  in_data "$id" -- sh -c 'umask 077; cat >/data/brain.sqlite' <"$source/engines/$id/brain.sqlite"
  if [ "$epoch" -gt 0 ]; then
    docker volume create --label "$OF_ENGINE=$id" --label "$OF_NETWORK=$NETWORK" --label "$OF_MARK=start" \
      --label "$OF_EPOCH=$epoch" "engine-start-$id-$epoch" >/dev/null
  fi
  say "engine $count of $all: $id"
done <"$source/manifest"

say 'epochs …'
compose run --rm --no-deps -T orchestrator bap-engine repair-epochs --yes </dev/null
say 'Restored. Start the rest: docker compose up -d postgres orchestrator'
