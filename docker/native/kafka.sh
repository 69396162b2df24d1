# Kafka as one node that is broker and controller (KRaft), from its Maven packages.
# shellcheck shell=bash

KAFKA_PORT=${SERVICES_KAFKA_PORT:-9092}
KAFKA_LIBRARY=$SERVICES_CACHE/kafka-4.1.0

kafka_install() {
    needs java 'Kafka needs Java 17 or later'
    once "$KAFKA_LIBRARY" kafka_fetch
}

kafka_fetch() { # kafka_fetch FOLDER
    needs mvn "Maven fetches Kafka's packages"
    say 'fetching Kafka (once) …'
    timeout 600 mvn -q -B -f docker/native/kafka.xml dependency:copy-dependencies \
        -DincludeScope=runtime -DoutputDirectory="$1" >"$SERVICES_CACHE/kafka.log" 2>&1 || {
        tail -n 5 "$SERVICES_CACHE/kafka.log" >&2
        fail "Kafka could not be fetched: the whole story is in $SERVICES_CACHE/kafka.log."
    }
}

kafka_start() {
    local state=$SERVICES_DIR/kafka
    if running kafka; then
        ready kafka 60 kafka_answers
        say "is running at 127.0.0.1:$KAFKA_PORT"
        return
    fi
    must_be_free "$KAFKA_PORT" SERVICES_KAFKA_PORT
    mkdir -p "$state"
    kafka_settings "$state" >"$state/server.properties"
    # Once: it leaves alone what is formatted.
    java -cp "$KAFKA_LIBRARY/*" kafka.tools.StorageTool format --ignore-formatted \
        -t c2FnYS1zaG9wLXNhZ2Etcw -c "$state/server.properties" >>"$SERVICES_DIR/kafka.log" 2>&1 ||
        fail "Kafka's folder could not be made: see $SERVICES_DIR/kafka.log."
    launch kafka java -Xmx512m -Dlog4j2.level=WARN -cp "$KAFKA_LIBRARY/*" \
        kafka.Kafka "$state/server.properties"
    ready kafka 60 kafka_answers
    say "ready at 127.0.0.1:$KAFKA_PORT"
}

kafka_stop() {
    halt kafka 30
}

kafka_settings() { # kafka_settings STATE
    local controller=$((KAFKA_PORT + 1))
    cat <<-END
		process.roles=broker,controller
		node.id=1
		controller.quorum.voters=1@127.0.0.1:$controller
		controller.listener.names=CONTROLLER
		listeners=PLAINTEXT://127.0.0.1:$KAFKA_PORT,CONTROLLER://127.0.0.1:$controller
		log.dirs=$1/data
		# One node has nobody to copy to, and need not wait for others to join.
		offsets.topic.replication.factor=1
		transaction.state.log.replication.factor=1
		transaction.state.log.min.isr=1
		share.coordinator.state.topic.replication.factor=1
		share.coordinator.state.topic.min.isr=1
		group.initial.rebalance.delay.ms=0
	END
}

# It takes connections before it takes part: only then does its metadata name one broker.
kafka_answers() {
    local answer
    exec 3<>"/dev/tcp/127.0.0.1/$KAFKA_PORT"
    # A metadata request, version 1, without topics; back come size, correlation, brokers.
    printf '\0\0\0\16\0\3\0\1\0\0\0\1\377\377\0\0\0\0' >&3
    answer=$(timeout 3 head -c 12 <&3 | od -An -v -tu1 | tr -d ' \n')
    [[ $answer == *0001 ]]
}
