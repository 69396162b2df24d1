# MongoDB's wire protocol by FerretDB, on PostgreSQL with the DocumentDB extension: mongod itself is
# in no package registry. The extension is only in Debian's unstable distribution, so PostgreSQL runs
# in a folder of its own that is unpacked from there, and nothing of it is installed on the machine.
# shellcheck shell=bash

MONGODB_PORT=${SERVICES_MONGODB_PORT:-27017}
FERRETDB=github.com/FerretDB/FerretDB/v2/cmd/ferretdb@v2.7.0
ROOT=$SERVICES_CACHE/documentdb-18
PG=/usr/lib/postgresql/18/bin
# PostgreSQL refuses to run as root. A user of the folder's own, known to nobody else.
PG_USER=27017

mongodb_install() {
    [ "$(id -u)" = 0 ] || fail "only root can give PostgreSQL a root folder of its own." "$OTHERWISE"
    once "$ROOT" documentdb_unpack
    once "$ROOT/usr/bin/ferretdb" ferretdb_build
}

ferretdb_build() { # ferretdb_build FILE
    needs go 'FerretDB is built from its source, with Go 1.24 or later'
    say 'building FerretDB (once, about a minute) …'
    # Without C it needs no library of the folder that it runs in.
    CGO_ENABLED=0 GOBIN=$1.d timeout 900 go install "$FERRETDB" >"$SERVICES_CACHE/go.log" 2>&1 || {
        tail -n 5 "$SERVICES_CACHE/go.log" >&2
        fail "FerretDB could not be built: the whole story is in $SERVICES_CACHE/go.log."
    }
    mv "$1.d/ferretdb" "$1"
    rm -r "$1.d"
}

# A root folder with PostgreSQL and all it needs, down to the C library: packages are unpacked and
# not configured, which takes seconds and starts nothing.
documentdb_unpack() { # documentdb_unpack FOLDER
    local each site lists=$1.apt
    needs apt-get 'PostgreSQL comes from Debian packages'
    say 'unpacking PostgreSQL with DocumentDB (once) …'
    rm -rf "$lists" "$1"
    mkdir -p "$lists/data/db/lists/partial" "$lists/cache/archives/partial" "$1"
    : >"$lists/status"
    site=$(debian_site)
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $site sid main" \
        >"$lists/sources.list"
    (
        export APT_CONFIG=$lists/apt.conf
        cat >"$APT_CONFIG" <<-END
			Dir::State "$lists/data/db"; Dir::State::status "$lists/status"; Dir::Cache "$lists/cache";
			Dir::Etc::sourcelist "$lists/sources.list"; Dir::Etc::sourceparts "-";
			APT::Sandbox::User "root"; APT::Install-Recommends "false"; Acquire::Languages "none";
		END
        timeout 120 apt-get update &&
            timeout 300 apt-get -y --download-only install \
                postgresql-18-documentdb base-files libc6 dash coreutils
    ) >"$SERVICES_CACHE/documentdb.log" 2>&1 || {
        tail -n 5 "$SERVICES_CACHE/documentdb.log" >&2
        fail "PostgreSQL could not be had: the whole story is in $SERVICES_CACHE/documentdb.log."
    }
    for each in "$lists"/cache/archives/*.deb; do dpkg-deb --extract "$each" "$1"; done
    install -d -o $PG_USER -g $PG_USER "$1/data/db"
    # Two things that configuring the packages would have done.
    ln -s postgis-3.control "$1/usr/share/postgresql/18/extension/postgis.control"
    echo "postgres:x:$PG_USER:$PG_USER::/data/db:/bin/sh" >"$1/etc/passwd"
    rm -rf "$lists"
}

# Before a command: run it in that root folder, with the state at /data/db. The mounts are seen by it
# alone and gone with it; the network is the machine's.
# shellcheck disable=SC2016 # for the inner shell
INSIDE=(unshare --mount --propagation private sh -euc '
    mount --bind "$1" "$2/data/db"
    mount --rbind /dev "$2/dev"
    root=$2 user=$3
    shift 3
    exec chroot --userspec="$user:$user" "$root" "$@"
' sh "$SERVICES_DIR/mongodb" "$ROOT" "$PG_USER")

mongodb_start() {
    local state=$SERVICES_DIR/mongodb url=mongodb://127.0.0.1:$MONGODB_PORT/
    if running mongodb && running postgresql; then
        ready mongodb 60 mongodb_answers
        say "is running at $url"
        return
    fi
    mongodb_stop # the half that may be left
    must_be_free "$MONGODB_PORT" SERVICES_MONGODB_PORT
    mkdir -p "$state"
    chown "$PG_USER:$PG_USER" "$state"
    postgresql_start "$state"
    launch mongodb "${INSIDE[@]}" /usr/bin/ferretdb --no-auth --telemetry=disable --debug-addr=- \
        --log-level=WARN --state-dir=/data/db --listen-addr="127.0.0.1:$MONGODB_PORT" \
        --postgresql-url='postgres://postgres@/postgres?host=/data/db'
    ready mongodb 60 mongodb_answers
    say "ready at $url"
}

mongodb_answers() {
    timeout 5 "${INSIDE[@]}" /usr/bin/ferretdb ping --no-auth --listen-addr="127.0.0.1:$MONGODB_PORT"
}

mongodb_stop() {
    halt mongodb 10
    halt postgresql 30
}

# PostgreSQL listens on no address at all, only on a socket in its folder.
postgresql_start() { # postgresql_start STATE
    if [ ! -e "$1/data" ]; then
        rm -rf "$1/data.new"
        "${INSIDE[@]}" $PG/initdb --pgdata=/data/db/data.new --username=postgres --auth=trust \
            --encoding=UTF8 --no-locale >"$SERVICES_DIR/postgresql.log" 2>&1 ||
            fail "PostgreSQL's folder could not be made: see $SERVICES_DIR/postgresql.log."
        cat >>"$1/data.new/postgresql.conf" <<-END
			listen_addresses = ''
			unix_socket_directories = '/data/db'
			shared_preload_libraries = 'pg_cron, pg_documentdb_core, pg_documentdb, pg_documentdb_extended_rum'
			documentdb.alternate_index_handler_name = 'extended_rum'
			cron.database_name = 'postgres'
			cron.host = '/data/db'
			documentdb.localhost_connection_string = 'host=/data/db'
		END
        mv "$1/data.new" "$1/data"
    fi
    launch postgresql "${INSIDE[@]}" $PG/postgres -D /data/db/data
    ready postgresql 60 "${INSIDE[@]}" $PG/pg_isready -q -h /data/db
    # Extended RUM: indexes in order, so that a sorted list reads no further than its page.
    "${INSIDE[@]}" $PG/psql -q -h /data/db -U postgres \
        -c 'create extension if not exists documentdb cascade' \
        -c 'create extension if not exists documentdb_extended_rum' >>"$SERVICES_DIR/postgresql.log" 2>&1 ||
        fail "PostgreSQL cannot load DocumentDB: see $SERVICES_DIR/postgresql.log."
}
