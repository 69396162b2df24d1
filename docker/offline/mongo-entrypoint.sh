#!/bin/sh
# FerretDB and its PostgreSQL in one container, which stops when either ends. The first start makes
# the user that the real image would make.
set -eu
PATH=/usr/lib/postgresql/18/bin:/usr/bin
data=/data/db/postgresql user=$MONGO_INITDB_ROOT_USERNAME

if [ ! -e $data ]; then
    rm -rf $data.new
    echo "$MONGO_INITDB_ROOT_PASSWORD" >/tmp/password
    initdb --pgdata=$data.new --username="$user" --pwfile=/tmp/password --encoding=UTF8 \
        --no-locale --auth-local=trust --auth-host=reject
    rm /tmp/password
    printf '%s\n' >>$data.new/postgresql.conf \
        "listen_addresses = ''" \
        "unix_socket_directories = '/tmp'" \
        "shared_preload_libraries = 'pg_cron, pg_documentdb_core, pg_documentdb, pg_documentdb_extended_rum'" \
        "documentdb.alternate_index_handler_name = 'extended_rum'" \
        "cron.database_name = 'postgres'" \
        "cron.host = '/tmp'" \
        "documentdb.localhost_connection_string = 'host=/tmp'"
    mv $data.new $data
fi

postgres -D $data &
postgres=$!
# The container's number 1 is told to stop; it has to pass that on.
trap 'kill -TERM "${ferretdb-$postgres}" 2>/dev/null' TERM INT
until pg_isready -q -h /tmp; do
    kill -0 $postgres
    sleep 0.2
done
psql -q -h /tmp -U "$user" -d postgres -c 'create extension if not exists documentdb cascade' \
    -c 'create extension if not exists documentdb_extended_rum'

ferretdb --telemetry=disable --debug-addr=- --log-level=WARN --state-dir=/data/db \
    --listen-addr=:27017 --postgresql-url="postgres://$user@/postgres?host=/tmp" &
ferretdb=$!
wait $ferretdb || true
kill -INT $postgres # fast: connections that are left are closed
wait $postgres
