# pydns in a container.
#
#   docker build -t pydns .          any Debian with python3 >= 3.11 will do: --build-arg BASE=...
#   docker run -p 53:5353/udp -p 53:5353/tcp -v ./networks.toml:/etc/pydns/networks.toml:ro pydns \
#       serve --listen 0.0.0.0:5353 --registry /etc/pydns/networks.toml
#
# `serve` needs no privilege: port 5353 is above 1024, and -p maps it. /metrics and /healthz are on 127.0.0.1:9153
# inside the container; `--metrics 0.0.0.0:9153` lets a Prometheus in.
#
# `sidecar` enters another container's network namespace and changes its nat rules, so it needs root, the host's
# processes or the named namespaces, and these capabilities, of which it keeps only what it still needs once attached:
#   docker run --user 0 --pid host --network host -v /run/netns:/run/netns:rslave \
#       --cap-drop ALL --cap-add NET_ADMIN --cap-add SYS_ADMIN --cap-add SYS_PTRACE --cap-add NET_RAW \
#       --cap-add SETPCAP --cap-add NET_BIND_SERVICE --cap-add DAC_OVERRIDE --security-opt apparmor=unconfined \
#       pydns sidecar --netns NAME --network mynet

ARG BASE=python:3.12-slim-bookworm

FROM ${BASE} AS build
SHELL ["/bin/sh", "-euc"]
WORKDIR /src
# A plain Debian keeps what makes a virtual environment in a package of its own; a python image has it.
# hadolint ignore=DL3008  # a Debian release keeps one version of a package: a pin breaks with its next security fix
RUN python3 -c 'import ensurepip' 2> /dev/null || { \
        apt-get update; \
        apt-get install -y --no-install-recommends python3-venv; \
        rm -rf /var/lib/apt/lists/*; \
    }
# Everything that is locked, checked against its hashes, as wheels; this layer is made anew only with the lock.
COPY requirements/run.txt requirements/run.txt
RUN python3 -m venv /build; \
    /build/bin/pip wheel -q --no-cache-dir --require-hashes -w /wheels -r requirements/run.txt; \
    /build/bin/pip install -q --no-cache-dir --no-index --find-links /wheels hatchling
COPY pyproject.toml README.md LICENSE ./
COPY resolver resolver
COPY zones zones
# From those wheels alone: what pydns needs to run, and not what built it.
RUN /build/bin/pip wheel -q --no-cache-dir --no-index --no-deps --no-build-isolation -w /wheels .; \
    python3 -m venv --without-pip /opt/pydns; \
    /build/bin/pip --python /opt/pydns/bin/python3 install -q --no-cache-dir --no-index --find-links /wheels pydns

FROM ${BASE}
LABEL org.opencontainers.image.title="pydns" \
      org.opencontainers.image.description="The resolver that Docker keeps at 127.0.0.11, as a program of its own" \
      org.opencontainers.image.licenses="Apache-2.0"
# nft writes the redirect rules of a sidecar.
# hadolint ignore=DL3008  # as above
RUN apt-get update \
    && apt-get install -y --no-install-recommends nftables \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/pydns /opt/pydns
ENV PATH=/opt/pydns/bin:$PATH \
    PYTHONUNBUFFERED=1
WORKDIR /etc/pydns
USER 65532:65532
EXPOSE 5353/udp 5353/tcp 9153/tcp
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s --retries=3 \
    CMD ["/opt/pydns/bin/python3", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:9153/healthz', timeout=2)"]
ENTRYPOINT ["pydns"]
CMD ["serve", "--listen", "0.0.0.0:5353"]
