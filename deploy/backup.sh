#!/bin/sh
# A backup of the whole deployment while it works: the registry, and of each engine its brain and its files.
#
# The registry first: an engine that comes up after that is missing in the backup altogether, while the other way round
# it would be there without its brain. Until everything is copied and checked the folder is called {name}.partial.
set -eu

usage() {
  cat <<'TEXT'
usage: deploy/backup.sh FOLDER

Makes FOLDER, which must not be there yet, with

  postgres.dump               the registry (pg_dump, custom format)
  engines/ID/brain.sqlite     each engine's brain, whole and checked
  engines/ID/files.tar        what else is in its volume: the workspace
  manifest                    the engines, with the epoch that each has reached
  SHA256SUMS                  of all of these

Everything may go on running. What is not in it: .env and the files of secrets. Keep the master key somewhere else:
without it nobody, you included, can read the engines' keys in the registry.
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
case $1 in /*) target=$1 ;; *) target=$PWD/$1 ;; esac
cd "$(dirname "$0")/.."
. deploy/project.sh

[ ! -e "$target" ] || fail "$target is there already: name a new folder."
work=$target.partial
[ ! -e "$work" ] || fail "$work is left of a backup that did not end: remove it."
POSTGRES=$(compose ps -q postgres)
[ -n "$POSTGRES" ] || fail 'postgres does not run: docker compose up -d postgres'

umask 077
mkdir -p "$work/engines"
staging=september-backup-$$
trap 'docker volume rm -f "$staging" >/dev/null 2>&1 || true' EXIT
trap 'exit 1' INT TERM

say 'registry …'
in_postgres pg_dump -U orch_user --format=custom orchestrator </dev/null >"$work/postgres.dump"
in_postgres pg_restore --list <"$work/postgres.dump" >/dev/null || fail 'The dump of the registry cannot be read back.'

volumes=$(docker volume ls -q --filter "label=$OF_NETWORK=$NETWORK" --filter name=engine-data- | sort)
all=$(echo "$volumes" | grep -c . || true)
count=0
for volume in $volumes; do
  id=${volume#engine-data-}
  count=$((count + 1))
  folder=$work/engines/$id
  mkdir "$folder"
  # An engine that is being made has no brain yet; one that is being destroyed has none any more.
  if ! in_data "$id" -- test -s /data/brain.sqlite </dev/null; then
    rmdir "$folder"
    say "engine $count of $all: $id has no brain, left out"
    continue
  fi
  in_data "$id" -v "$staging:/run/september" -- node --input-type=module - <deploy/backup_brain.mjs >"$folder/brain.sqlite" ||
    fail "The brain of $id could not be copied."
  # 1: a file has changed while it was read. The engine works; the next backup has it.
  in_data "$id" -- tar -C /data --exclude='./brain.sqlite*' -cf - . </dev/null >"$folder/files.tar" || [ $? -eq 1 ] ||
    fail "The files of $id could not be copied."
  # Read last: at least the one that the brain was held by.
  epoch=$(docker volume ls --filter "label=$OF_ENGINE=$id" --format "{{.Label \"$OF_EPOCH\"}}" | sort -n | tail -n 1)
  echo "engine $id ${epoch:-0}" >>"$work/manifest"
  say "engine $count of $all: $id, $(du -k "$folder/brain.sqlite" | cut -f 1) KB"
done
touch "$work/manifest"
(cd "$work" && find . -type f ! -name SHA256SUMS -exec sha256sum {} + >SHA256SUMS)
mv "$work" "$target"
say "The backup is in $target: $(grep -c . "$target/manifest" || true) engines, $(du -sk "$target" | cut -f 1) KB. It does not hold the master key."
