# What backup.sh and restore.sh know of the deployment they belong to: the project of the folder above. Sourced by them.

say() { echo "$*" >&2; }
fail() {
  say "$*"
  exit 1
}

# A setting, from the environment or .env, as compose.yaml takes it; $2 is its default.
setting() {
  value=$(eval "printf %s \"\${$1:-}\"")
  [ -n "$value" ] || value=$(sed -n "s/^$1=//p" .env | tail -n 1)
  echo "${value:-$2}"
}

compose() {
  if docker compose version >/dev/null 2>&1; then docker compose "$@"; else docker-compose "$@"; fi
}

docker version >/dev/null 2>&1 || fail 'Docker does not answer: start it, or run this as somebody who may use it.'
[ -e .env ] || fail "There is no .env in $PWD: restore it from where its keys are kept, or make one: sh deploy/new_env.sh"

NETWORK=$(setting ORCH_ENGINE_NETWORK engine_net)
IMAGE=$(setting ORCH_ENGINE_IMAGE september-engine:2.3.0)
OF_ENGINE=dev.september.engine-id
OF_EPOCH=dev.september.epoch
OF_NETWORK=dev.september.network
OF_MARK=dev.september.mark

docker image inspect "$IMAGE" >/dev/null 2>&1 || fail "The image $IMAGE is not on this host: build or pull it, or set ORCH_ENGINE_IMAGE."

# A one-shot container of the Engine's image on the data of engine $1, as the engine's user: `in_data ID OPTIONS… -- PROGRAM …`
in_data() {
  volume=engine-data-$1
  shift
  options=
  while [ "$1" != -- ]; do
    options="$options $1"
    shift
  done
  shift
  program=$1
  shift
  # shellcheck disable=SC2086 # several words
  docker run --rm -i --network none --read-only --cap-drop ALL --security-opt no-new-privileges \
    -v "$volume:/data" $options --entrypoint "$program" "$IMAGE" "$@"
}

# Runs a program of the database's container; reads standard input.
in_postgres() { docker exec -i "$POSTGRES" "$@"; }
