#!/usr/bin/env bash
# Stand-ins for the images that docker/compose.yaml and docker/Dockerfile name, made of Debian
# packages: for a machine that pulls no images. They take the real ones' names, so this is for a
# Docker of one's own, not for one that others use. Needs root on Debian.
set -euo pipefail
here=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
cd "$here/../.."
# shellcheck source-path=SCRIPTDIR
. "$here/../native/common.sh"
. "$here/../native/mongodb.sh"
. "$here/../native/kafka.sh"
server=images

debian_unpack() { # debian_unpack FOLDER
    local mirror
    mirror=$(debian_site)
    say 'unpacking Debian (once, about a minute) …'
    rm -rf "$1"
    timeout 600 debootstrap --variant=minbase --include=ca-certificates bookworm "$1" "$mirror" \
        >"$SERVICES_CACHE/debootstrap.log" 2>&1 ||
        fail "Debian could not be unpacked: the whole story is in $SERVICES_CACHE/debootstrap.log."
    rm -rf "$1"/var/cache/apt/archives/*.deb "$1"/var/lib/apt/lists/*
}

image() { # image NAME COMMAND…: unless it is there
    local name=$1
    shift
    docker image inspect "$name" >/dev/null 2>&1 && return
    say "making $name …"
    "$@" >"$SERVICES_CACHE/image.log" 2>&1 || {
        tail -n 15 "$SERVICES_CACHE/image.log" >&2
        fail "$name could not be made: the whole story is in $SERVICES_CACHE/image.log."
    }
}

imported() { # imported NAME FOLDER
    tar -C "$2" -c . | docker import - "$1"
}

# With just what the Dockerfile copies, not with the whole cache.
built() { # built NAME DOCKERFILE FILE-OR-FOLDER…
    local name=$1 recipe=$2 context outcome=0
    shift 2
    context=$(mktemp -d)
    cp "$recipe" "$context/Dockerfile"
    [ $# = 0 ] || cp -r "$@" "$context/"
    timeout 600 docker build --tag "$name" "$context" || outcome=$?
    rm -r "$context"
    return $outcome
}

make_images() {
    local debian=$SERVICES_CACHE/debian-12
    [ "$(id -u)" = 0 ] || fail 'stand-in images are only made as root.'
    command -v debootstrap >/dev/null || debian debootstrap
    once "$debian" debian_unpack
    mongodb_install
    kafka_install
    image debian:bookworm-slim imported debian:bookworm-slim "$debian"
    image python:3.11-slim-bookworm built python:3.11-slim-bookworm "$here/python.Dockerfile" \
        /etc/ssl/certs/ca-certificates.crt
    image rabbitmq:4-management built rabbitmq:4-management "$here/rabbitmq.Dockerfile"
    image apache/kafka:4.1.0 built apache/kafka:4.1.0 "$here/kafka.Dockerfile" \
        "$here/kafka-entrypoint.sh" "$KAFKA_LIBRARY"
    image saga-shop/documentdb imported saga-shop/documentdb "$ROOT"
    image mongo:8 built mongo:8 "$here/mongo.Dockerfile" "$here/mongo-entrypoint.sh" "$here/mongosh"
}

mkdir -p "$SERVICES_CACHE"
make_images
