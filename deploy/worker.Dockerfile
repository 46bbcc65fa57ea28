# A worker, to be the base of an image with your tasks. From the root of the repository:
#   docker build -f deploy/worker.Dockerfile -t luigi-ha-worker .
# and then, beside your tasks:
#   FROM luigi-ha-worker
#   COPY etl.py /srv/tasks/
#   CMD ["--module", "etl", "--workers", "4"]
FROM python:3.11.14-slim-bookworm AS build
WORKDIR /build
COPY requirements.lock ./
RUN pip wheel --no-cache-dir --require-hashes --wheel-dir /wheels -r requirements.lock
COPY pyproject.toml README.md ./
COPY appliance appliance
COPY ha ha
COPY worker worker
RUN python -m venv /build/tools \
    && /build/tools/bin/pip install --no-cache-dir --no-index --find-links /wheels hatchling \
    && /build/tools/bin/pip wheel --no-cache-dir --no-index --no-deps --no-build-isolation --wheel-dir /wheels . \
    && python -m venv /opt/luigi-ha \
    && /opt/luigi-ha/bin/pip install --no-cache-dir --no-index --find-links /wheels \
        "luigi-ha[worker,s3]" pandas pyarrow

FROM python:3.11.14-slim-bookworm
# tini is process 1: it passes signals on, and ends what orphaned processes of tasks leave behind.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends tini && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 luigi && useradd --uid 10001 --gid 10001 --create-home luigi \
    && install -d -o 10001 -g 10001 /var/lib/luigi-ha-worker /srv/tasks
COPY --from=build /opt/luigi-ha /opt/luigi-ha
ENV PATH=/opt/luigi-ha/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONPATH=/srv/tasks \
    LUIGI_HA_STATE_DIR=/var/lib/luigi-ha-worker
USER 10001:10001
WORKDIR /srv/tasks
VOLUME /var/lib/luigi-ha-worker
EXPOSE 9101
HEALTHCHECK --interval=10s --timeout=6s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9101/health', timeout=5)"]
# SIGTERM drains: allow for the longest task (`docker stop --time`).
STOPSIGNAL SIGTERM
ENTRYPOINT ["tini", "--", "luigi-ha", "worker", "--metrics-port", "9101"]
CMD ["--help"]
