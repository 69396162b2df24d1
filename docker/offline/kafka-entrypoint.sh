#!/bin/bash
# As in the real image, KAFKA_LOG_DIRS=… stands for log.dirs=… and so on.
set -euo pipefail
settings=/tmp/server.properties
env | while IFS='=' read -r name value; do
    case $name in
    KAFKA_HEAP_OPTS) ;;
    KAFKA_*) echo "$(tr 'A-Z_' 'a-z.' <<<"${name#KAFKA_}")=$value" ;;
    esac
done >$settings
java -cp '/opt/kafka/libs/*' kafka.tools.StorageTool format --ignore-formatted \
    -t c2FnYS1zaG9wLXNhZ2Etcw -c $settings
# shellcheck disable=SC2086 # several options, maybe
exec java ${KAFKA_HEAP_OPTS-} -Dlog4j2.level=WARN -cp '/opt/kafka/libs/*' kafka.Kafka $settings
