#!/bin/sh
# Makes the files of compose.production.yaml, each with a secret of its own.
set -eu

case ${1:-} in
  '') ;;
  -h | --help)
    echo 'usage: deploy/new_secrets.sh    makes secrets/ in the project'\''s folder; leaves one that is there alone'
    exit 0
    ;;
  *)
    echo "new_secrets: it takes no argument $1; see --help" >&2
    exit 64
    ;;
esac

cd "$(dirname "$0")/.."
if [ -e secrets ]; then
  echo 'new_secrets: secrets/ is there already, and may be in use: move it away first' >&2
  exit 1
fi
# Characters that stand for themselves in a URL; what encrypts has the padding that its format wants.
random() { head -c "$1" /dev/urandom | base64 | tr -d '\n' | tr '+/' '-_'; }

umask 077
mkdir secrets
random 32 >secrets/master_key
random 48 >secrets/admin_key
random 24 >secrets/postgres_password
printf 'postgresql://orch_user:%s@postgres:5432/orchestrator' "$(cat secrets/postgres_password)" >secrets/database_url
# The folder keeps others away. The containers' own users, who get the files one by one, have to read them.
chmod 444 secrets/*
echo 'Made secrets/. Keep a copy of secrets/master_key where the backups are not.'
