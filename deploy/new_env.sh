#!/bin/sh
# Makes .env of .env.example, with what is new for each deployment: a master key, and the group of the Docker socket.
set -eu

case ${1:-} in
  '') ;;
  -h | --help)
    echo 'usage: deploy/new_env.sh    makes .env in the project'\''s folder; leaves one that is there alone'
    exit 0
    ;;
  *)
    echo "new_env: it takes no argument $1; see --help" >&2
    exit 64
    ;;
esac

cd "$(dirname "$0")/.."
if [ -e .env ]; then
  echo 'new_env: .env is there already, and its master key may be in use: move it away first' >&2
  exit 1
fi
socket=/var/run/docker.sock
if ! group=$(stat -c %g "$socket" 2>/dev/null || stat -f %g "$socket" 2>/dev/null); then
  echo "new_env: there is no $socket: start Docker first" >&2
  exit 1
fi
master_key=$(head -c 32 /dev/urandom | base64 | tr '+/' '-_')
umask 077
sed -e "s|^ORCH_MASTER_KEY=\$|ORCH_MASTER_KEY=$master_key|" -e "s|^DOCKER_GID=\$|DOCKER_GID=$group|" .env.example >.env
echo 'Made .env. The keys of your model provider go into it, if you have any; then: docker compose up postgres orchestrator'
