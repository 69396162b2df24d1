#!/usr/bin/env bash
# Tries docker/compose.yaml for real: starts all of it, runs the demo against it, tears it down.
# With a Docker that runs here, it pulls the images; else it starts a Docker of its own, and where
# nothing can be pulled, stand-ins are made (docker/offline/).
# Exit codes: 0 it works, 1 it does not, 3 Docker, or its compose, cannot run on this machine.
set -euo pipefail
here=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
cd "$here/.."
# shellcheck source-path=SCRIPTDIR
. "$here/native/common.sh"
server=compose
NO_DOCKER=3
PORT=${SHOP_VERIFY_PORT:-3000}
IMAGES=(rabbitmq:4-management mongo:8 apache/kafka:4.1.0 python:3.11-slim-bookworm)

no_docker() {
    complain "$@"
    exit $NO_DOCKER
}

# A Docker of our own: its socket, its images and all it runs are apart from any other's.
start_docker() {
    if ! command -v dockerd >/dev/null; then
        (debian docker.io docker-compose) || no_docker 'Docker is not here and cannot be installed.'
    fi
    [ "$(id -u)" = 0 ] || no_docker 'No Docker is running, and only root can start one.'
    halt dockerd 30
    export DOCKER_HOST=unix://$run/docker.sock
    launch dockerd dockerd --host "$DOCKER_HOST" --pidfile "$run/pid" --exec-root "$run/exec" \
        --data-root "$SERVICES_CACHE/docker"
    (ready dockerd 60 docker info) ||
        no_docker "Docker cannot run on this machine: see $SERVICES_DIR/dockerd.log."
    say 'Docker runs'
    pull || docker/offline/images.sh
}

pull() {
    local image
    for image in "${IMAGES[@]}"; do
        docker image inspect "$image" >/dev/null 2>&1 && continue
        say "pulling $image …"
        timeout 300 docker pull --quiet "$image" >>"$SERVICES_DIR/compose.log" 2>&1 || {
            say "$image cannot be pulled"
            return 1
        }
    done
}

# Either the plugin or the older program of its own.
find_compose() {
    if docker compose version >/dev/null 2>&1; then
        command=(docker compose)
    elif docker-compose version >/dev/null 2>&1; then
        command=(docker-compose)
    else
        no_docker 'Docker runs here, but without compose: install its plugin (docker-compose-v2).'
    fi
}

compose() {
    timeout 600 "${command[@]}" --project-name shop-verify --env-file "$run/env" \
        --file docker/compose.yaml "$@" >>"$SERVICES_DIR/compose.log" 2>&1
}

secrets() {
    local name
    for name in SHOP_JWT_SECRET SHOP_CARRIER_SECRET RABBITMQ_PASSWORD MONGODB_PASSWORD; do
        echo "$name=$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')"
    done
    echo "SHOP_PUBLISH=127.0.0.1:$PORT"
    echo "RABBITMQ_PUBLISH=127.0.0.1:$((PORT + 12672))"
}

clean() {
    if [ -e "$run/env" ]; then
        say 'tearing it down …'
        compose down --volumes --remove-orphans || say "… which failed: see $SERVICES_DIR/compose.log"
    fi
    if running dockerd; then # ours: its cache is kept, and what no image uses any more is not
        docker image prune --force >/dev/null 2>&1 || true
        halt dockerd 30
    fi
    rm -rf "$run"
}

verify() {
    must_be_free "$PORT" SHOP_VERIFY_PORT
    secrets >"$run/env"
    say 'building the image …'
    compose build || fail "the image cannot be built: see $SERVICES_DIR/compose.log."
    say 'starting everything …'
    compose up --detach || {
        compose ps
        compose logs --tail=20
        fail "it did not start: see $SERVICES_DIR/compose.log."
    }
    local begun=$SECONDS
    until python3 docker/healthy.py "$PORT" 2>/dev/null; do
        [ $((SECONDS - begun)) -lt 120 ] ||
            fail "the gateway was not ready within 120 s: see $SERVICES_DIR/compose.log."
        sleep 1
    done
    say 'placing orders …'
    make --silent demo URL="http://localhost:$PORT" || {
        compose logs --tail=50
        fail "the demo failed: see $SERVICES_DIR/compose.log."
    }
    say 'asking the event stream …'
    python3 docker/streamed.py "http://127.0.0.1:$PORT" || {
        compose logs --tail=50 journal stream-1 stream-2 tracker
        fail "the event stream does not tell of them: see $SERVICES_DIR/compose.log."
    }
    say 'it works'
}

mkdir -p "$SERVICES_DIR" "$SERVICES_CACHE"
: >"$SERVICES_DIR/compose.log"
run=$(mktemp -d)
trap clean EXIT
trap 'exit 130' INT TERM
docker info >/dev/null 2>&1 || start_docker
find_compose
verify
