# syntax=docker/dockerfile:1
# The application (rankgate serve) and, with another command, `chroma run`: see compose.yaml.
# Building fetches packages; running fetches nothing.

FROM python:3.11-slim-bookworm AS build

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_INPUT=1

RUN python -m venv /opt/rankgate
ENV PATH=/opt/rankgate/bin:$PATH

WORKDIR /src
COPY constraints.txt ./
# PyTorch without CUDA is a tenth of the size; it comes alone from its own index.
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --no-deps --index-url https://download.pytorch.org/whl/cpu -c constraints.txt torch

COPY pyproject.toml README.md LICENSE CHANGELOG.md ./
COPY rankgate rankgate
COPY rag_app rag_app
COPY eval/rankgate_eval eval/rankgate_eval
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install -c constraints.txt '.[app]'


FROM python:3.11-slim-bookworm

# Numbers, not names, so that an orchestrator can see that this is not root. Volumes take their
# owner from these folders.
RUN groupadd --gid 10001 rankgate \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp rankgate \
    && install --directory --owner=10001 --group=10001 --mode=0700 /data /chroma

COPY --from=build /opt/rankgate /opt/rankgate

# HOME is a folder that may be written to even where the rest is read-only.
# No secret here: TOKENIZERS_PARALLELISM only sounds like one.
# hadolint ignore=DL3064
ENV PATH=/opt/rankgate/bin:$PATH \
    HOME=/tmp \
    PYTHONUNBUFFERED=1 \
    HF_HUB_OFFLINE=1 \
    TOKENIZERS_PARALLELISM=false \
    ANONYMIZED_TELEMETRY=False \
    RANKGATE_DATA_DIR=/data \
    RANKGATE_HOST=0.0.0.0 \
    RANKGATE_PORT=8000

USER 10001:10001
WORKDIR /data
VOLUME ["/data"]
EXPOSE 8000
STOPSIGNAL SIGTERM

HEALTHCHECK --interval=15s --timeout=10s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f'http://127.0.0.1:{os.environ[\"RANKGATE_PORT\"]}/readyz', timeout=8)"]

# Without an API key it refuses to listen beyond its own machine, and ends. Make one first:
#   docker run --rm -v rankgate-data:/data rankgate keys create --name NAME --role evaluator
ENTRYPOINT ["rankgate"]
CMD ["serve"]
