# Stands in for apache/kafka, with the packages that kafka.sh fetches.
FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends openjdk-17-jre-headless \
    && rm -rf /var/lib/apt/lists/* \
    && install -d -o 1000 -g 1000 /var/lib/kafka/data
COPY kafka-4.1.0 /opt/kafka/libs
COPY kafka-entrypoint.sh /usr/local/bin/
USER 1000:1000
VOLUME /var/lib/kafka/data
CMD ["kafka-entrypoint.sh"]
