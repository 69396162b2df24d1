# Stands in for rabbitmq:4-management, with Debian's RabbitMQ: the settings that the compose file
# makes by environment variables are read by the server itself.
FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends rabbitmq-server \
    && rm -rf /var/lib/apt/lists/* \
    && rabbitmq-plugins enable --offline rabbitmq_management
ENV RABBITMQ_LOGS=-
USER rabbitmq
VOLUME /var/lib/rabbitmq
CMD ["/usr/lib/rabbitmq/bin/rabbitmq-server"]
