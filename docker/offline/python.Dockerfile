# Stands in for python:3.11-slim-bookworm. The machine's own certificate authorities come along: where
# a network has one of its own, pip inside a build would trust nobody.
FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*
COPY ca-certificates.crt /etc/ssl/certs/build.crt
ENV PIP_CERT=/etc/ssl/certs/build.crt
