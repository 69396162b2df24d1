# RabbitMQ from Debian's package, as a node of our own beside whatever else runs on the machine.
# shellcheck shell=bash

AMQP_PORT=${SERVICES_RABBITMQ_PORT:-5672}
RABBITMQ=/usr/lib/rabbitmq/bin/rabbitmq-server

rabbitmq_install() {
    [ -x "$RABBITMQ" ] || debian rabbitmq-server
}

rabbitmq_start() {
    local state=$SERVICES_DIR/rabbitmq
    if running rabbitmq; then
        ready rabbitmq 60 rabbitmq_answers
        say "is running at amqp://guest:guest@127.0.0.1:$AMQP_PORT/"
        return
    fi
    must_be_free "$AMQP_PORT" SERVICES_RABBITMQ_PORT
    mkdir -p "$state"
    rabbitmq_environment "$state"
    # Erlang nodes find each other through epmd, which would listen on every address.
    running epmd || launch epmd epmd -address 127.0.0.1 -port "$ERL_EPMD_PORT"
    # With this the script becomes the server; without, it stays in between and so does its pid.
    RABBITMQ_ALLOW_INPUT=1 launch rabbitmq "$RABBITMQ" -noinput
    ready rabbitmq 60 rabbitmq_answers
    say "ready at amqp://guest:guest@127.0.0.1:$AMQP_PORT/"
}

rabbitmq_stop() {
    halt rabbitmq 30
    halt epmd 5
}

# Everything is in the state folder; the machine's own configuration is not read.
rabbitmq_environment() { # rabbitmq_environment STATE
    export HOME=$1 # the nodes' shared secret is made here
    export RABBITMQ_CONF_ENV_FILE=/dev/null RABBITMQ_CONFIG_FILE=$1/rabbitmq.conf
    export RABBITMQ_ENABLED_PLUGINS_FILE=$1/enabled_plugins
    export RABBITMQ_MNESIA_BASE=$1/data RABBITMQ_LOG_BASE=$1/log
    export RABBITMQ_NODENAME=saga$AMQP_PORT@localhost
    export RABBITMQ_NODE_IP_ADDRESS=127.0.0.1 RABBITMQ_NODE_PORT=$AMQP_PORT
    export RABBITMQ_DIST_PORT=$((AMQP_PORT + 20000))
    export ERL_EPMD_ADDRESS=127.0.0.1 ERL_EPMD_PORT=$((AMQP_PORT + 20001))
    # Loopback only; and idle schedulers sleep, instead of spinning on somebody else's core.
    export RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="
        -kernel inet_dist_use_interface {127,0,0,1} +sbwt none +sbwtdcpu none +sbwtdio none"
    printf '[].\n' >"$RABBITMQ_ENABLED_PLUGINS_FILE"
    printf 'log.console = true\nlog.console.level = warning\nlog.file = false\n' \
        >"$RABBITMQ_CONFIG_FILE"
}

# It answers the protocol's header with its first frame only once it takes connections.
rabbitmq_answers() {
    local byte
    exec 3<>"/dev/tcp/127.0.0.1/$AMQP_PORT"
    printf 'AMQP\0\0\11\1' >&3
    LC_ALL=C IFS= read -r -N 1 -t 3 -u 3 byte
    [ "$byte" = $'\1' ]
}
