# pydns in a container: docs/image.md.
#
#   docker build -t pydns .
#   docker run -p 53:5353/udp -p 53:5353/tcp -v ./networks.toml:/etc/pydns/networks.toml:ro pydns \
#       serve --listen 0.0.0.0:5353 --registry /etc/pydns/networks.toml
#
# Any Debian with python3 >= 3.11 will do in place of the default: --build-arg BASE=... Without a network, or without a
# registry, tools/image.sh makes the base and the wheels and builds the same file.
#
# `serve` needs no privilege: port 5353 is above 1024, and -p maps it. /metrics and /healthz are on 127.0.0.1:9153
# inside the container; `--metrics 0.0.0.0:9153` lets a Prometheus in.
#
# `sidecar --netns self` and `agent` change namespaces, so they run as root, with few capabilities: deploy/compose has
# a file for each, with the reason of each.

ARG BASE=python:3.12-slim-bookworm
# The same Python with a C compiler beside it, where there is one at hand: tools/image.sh makes it.
ARG BUILD_BASE=${BASE}

FROM ${BUILD_BASE} AS build
SHELL ["/bin/sh", "-euc"]
WORKDIR /src
# wheels/ is there only when the builder has been handed everything: pip itself, and all that is locked. Written so
# because a COPY may name what does not exist only beside something that does.
COPY requirements/run.txt wheel[s] offline/
# A plain Debian keeps what brings pip into a virtual environment in a package of its own; a python image has it.
# hadolint ignore=DL3008  # a Debian release keeps one version of a package: a pin breaks with its next security fix
RUN pip=$(find offline -name 'pip-*.whl'); \
    if [ "$pip" ]; then \
        python3 -m venv --without-pip /build; \
        python3 "$pip/pip" --python /build/bin/python3 install -q --no-index "$pip"; \
    else \
        python3 -c 'import ensurepip' 2> /dev/null || { \
            apt-get update; \
            apt-get install -y --no-install-recommends python3-venv; \
            rm -rf /var/lib/apt/lists/*; \
        }; \
        python3 -m venv /build; \
    fi
# What compiles the fast lane: a python image has the headers, a plain Debian keeps them in a package. Without a network
# there may be none, and pydns answers in Python alone.
# hadolint ignore=DL3008  # as above
RUN has_headers() { python3 -c 'import os, sysconfig; os.stat(sysconfig.get_path("include") + "/Python.h")' 2> /dev/null; }; \
    if ! command -v cc > /dev/null || ! has_headers; then \
        set -- gcc libc6-dev; \
        has_headers || set -- "$@" python3-dev; \
        { apt-get -o Acquire::Retries=0 update && apt-get install -y --no-install-recommends "$@"; } || \
            echo 'no compiler can be had: pydns will answer in Python alone' >&2; \
        rm -rf /var/lib/apt/lists/*; \
    fi
# Everything that is locked, checked against its hashes, as wheels; this layer is made anew only with the lock.
RUN set -- --require-hashes -w /wheels -r offline/run.txt; \
    if [ "$(find offline -name '*.whl')" ]; then set -- "$@" --no-index --find-links offline; fi; \
    /build/bin/pip wheel -q --no-cache-dir "$@"; \
    /build/bin/pip install -q --no-cache-dir --no-index --find-links /wheels hatchling
COPY pyproject.toml README.md LICENSE ./
COPY tools/compile_lane.py tools/
COPY resolver resolver
COPY zones zones
# From those wheels alone: what pydns needs to run, and not what built it, nor pip, nor what only a compiler reads.
# Compiled here, for nobody may write there later and each start would do it again; unchecked, which spares the looking
# for sources that do not change.
RUN /build/bin/pip wheel -q --no-cache-dir --no-index --no-deps --no-build-isolation -w /wheels .; \
    python3 -m venv --without-pip /opt/pydns; \
    /build/bin/pip --python /opt/pydns/bin/python3 install -q --no-cache-dir --no-compile --no-index --find-links /wheels \
        'pydns[docker,doh]'; \
    find /opt/pydns/lib -regex '.*\.\(pyi\|pyx\|pxd\|c\|h\)' -delete; \
    python3 -m compileall -q --invalidation-mode unchecked-hash /opt/pydns/lib

FROM ${BASE}
LABEL org.opencontainers.image.title="pydns" \
      org.opencontainers.image.description="The resolver that Docker keeps at 127.0.0.11, as a program of its own" \
      org.opencontainers.image.licenses="Apache-2.0"
# nft writes the redirect rules of a sidecar and an agent.
# hadolint ignore=DL3008  # as above
RUN command -v nft > /dev/null || { \
        apt-get update \
        && apt-get install -y --no-install-recommends nftables \
        && rm -rf /var/lib/apt/lists/*; \
    }
COPY --from=build /opt/pydns /opt/pydns
ENV PATH=/opt/pydns/bin:$PATH \
    PYTHONUNBUFFERED=1
WORKDIR /etc/pydns
USER 65532:65532
EXPOSE 5353/udp 5353/tcp 9153/tcp
STOPSIGNAL SIGTERM
# Bare sockets: an HTTP library costs ten times as much to load, every ten seconds in every container.
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s --retries=3 \
    CMD ["/opt/pydns/bin/python3", "-ISc", "import socket; s = socket.create_connection(('127.0.0.1', 9153), 2); s.sendall(b'GET /healthz HTTP/1.0\\r\\n\\r\\n'); raise SystemExit(b' 200 ' not in s.recv(64))"]
ENTRYPOINT ["pydns"]
CMD ["serve", "--listen", "0.0.0.0:5353"]
