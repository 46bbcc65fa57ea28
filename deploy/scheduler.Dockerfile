# A scheduler node. From the root of the repository:
#   docker build -f deploy/scheduler.Dockerfile -t luigi-ha-scheduler .
FROM python:3.11.14-slim-bookworm AS build
WORKDIR /build
COPY requirements.lock ./
# Everything that the lock pins, with its hash; what is installed below can come from nowhere else.
RUN pip wheel --no-cache-dir --require-hashes --wheel-dir /wheels -r requirements.lock
COPY pyproject.toml README.md ./
COPY appliance appliance
COPY ha ha
COPY worker worker
RUN python -m venv /build/tools \
    && /build/tools/bin/pip install --no-cache-dir --no-index --find-links /wheels hatchling \
    && /build/tools/bin/pip wheel --no-cache-dir --no-index --no-deps --no-build-isolation --wheel-dir /wheels . \
    && python -m venv /opt/luigi-ha \
    && /opt/luigi-ha/bin/pip install --no-cache-dir --no-index --find-links /wheels "luigi-ha[luigi]"

FROM python:3.11.14-slim-bookworm
RUN groupadd --gid 10001 luigi && useradd --uid 10001 --gid 10001 --create-home luigi \
    && install -d -o 10001 -g 10001 /var/lib/luigi-ha
COPY --from=build /opt/luigi-ha /opt/luigi-ha
ENV PATH=/opt/luigi-ha/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    LUIGI_HA_LOG_FORMAT=json \
    LUIGI_HA_METRICS_PORT=9100
USER 10001:10001
WORKDIR /var/lib/luigi-ha
VOLUME /var/lib/luigi-ha
EXPOSE 8082 9100
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9100/ready', timeout=4)"]
ENTRYPOINT ["luigi-ha"]
CMD ["serve"]
