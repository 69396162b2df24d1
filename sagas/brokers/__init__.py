"""Back ends of the ``Broker`` port: embedded in one process, RabbitMQ for real deployments."""
