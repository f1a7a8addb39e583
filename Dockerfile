# dw behind HTTP, or another of its programs. docs/deploy.md says how it is built and run.
#   docker build -t dw .                                          torch with CUDA, as PyPI has it
#   docker build -t dw --build-arg PIP_OPTIONS="--index-url URL"  torch from another index, as for the CPU
ARG PYTHON=3.11

FROM python:${PYTHON}-slim-bookworm AS build
ARG PIP_OPTIONS=""
WORKDIR /source
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY container/install.sh container/
COPY dw dw
# hadolint ignore=SC2086
RUN container/install.sh /opt/dw ${PIP_OPTIONS}

FROM python:${PYTHON}-slim-bookworm
ARG REVISION=unknown
ARG CREATED=unknown
LABEL org.opencontainers.image.title="dw" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
ENV DW_BUILD_REVISION="${REVISION}" \
    DW_BUILD_CREATED="${CREATED}" \
    PATH="/opt/dw/bin:${PATH}" \
    HF_HOME=/models \
    XDG_STATE_HOME=/data/state \
    XDG_CACHE_HOME=/data/cache \
    DW_OUTPUT_DIR=/data/outputs
RUN useradd --uid 1000 --create-home dw \
    && install -d -o dw -g dw /workflows /models /data
COPY --from=build /opt/dw /opt/dw
COPY --chown=dw:dw examples/shapes.json /workflows/
USER 1000
WORKDIR /workflows
VOLUME ["/models", "/data"]
EXPOSE 8000
STOPSIGNAL SIGTERM
# It fails when no worker could take a job. A first start may download nothing and load for minutes.
HEALTHCHECK --interval=30s --timeout=30s --start-period=120s --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/readyz', timeout=5)"]
# dw is its own init: as PID 1 it reaps what it is handed. Beyond loopback it wants a key: DW_API_KEYS.
ENTRYPOINT ["dw"]
CMD ["serve", "--host", "0.0.0.0", "--workflows", "/workflows"]
