#!/bin/bash
# Install the Debian packages that a target needs, if a tool of theirs is missing: debian.sh venv|demo|test|bench
# Nothing is started or enabled: the tests want the programs of unbound, knot, bind, prometheus, docker and podman, not
# their services. A dockerd that a test starts is its own (docs/testing.md).
set -euo pipefail

# tool:package; a tool is a command on the path, a path, @module for one of python3's modules, or %header for a header
# of python3's
demo=(dig:bind9-dnsutils nft:nftables ip:iproute2 nsenter:util-linux setpriv:util-linux dnsmasq:dnsmasq-base)
docker=(dockerd:docker.io /usr/bin/docker:docker.io busybox:busybox-static debootstrap:debootstrap)
podman=(podman:podman crun:crun /usr/lib/podman/netavark:netavark /usr/lib/podman/aardvark-dns:aardvark-dns)
# Every peer that benchmarks/ knows, but CoreDNS, which Debian has not.
bench=(dnsperf:dnsperf dnsmasq:dnsmasq-base unbound:unbound knotd:knot nsd:nsd dnsdist:dnsdist
    /usr/lib/podman/aardvark-dns:aardvark-dns dockerd:docker.io /usr/bin/docker:docker.io busybox:busybox-static
    gcc:gcc %Python.h:python3-dev ip:iproute2 nft:nftables setpriv:util-linux taskset:util-linux)
services=(unbound.service knot.service nsd.service dnsdist.service named.service prometheus.service
    docker.service docker.socket containerd.service
    podman.service podman.socket podman-restart.service podman-auto-update.service podman-auto-update.timer)

PATH=$PATH:/usr/sbin:/sbin
case ${1:?venv, demo, test or bench} in
    venv) wanted=(@ensurepip:python3-venv) ;;
    demo) wanted=("${demo[@]}") ;;
    bench) wanted=("${bench[@]}") ;;
    test) wanted=("${demo[@]}" "${bench[@]}" "${docker[@]}" "${podman[@]}" iptables:iptables iptables-legacy:iptables
        kdig:knot-dnsutils openssl:openssl named:bind9 delv:bind9-dnsutils dnssec-signzone:bind9-utils
        musl-gcc:musl-tools promtool:prometheus ps:procps
        curl:curl dbus-daemon:dbus-daemon kmod:kmod) # systemd-resolved wants libkmod
        "$(dirname "$0")"/resolved.sh ;;
esac

declare -A missing=()
for pair in "${wanted[@]}"; do
    tool=${pair%%:*}
    if [[ $tool == @* ]]; then
        "${PYTHON:-python3}" -c "import ${tool#@}" 2> /dev/null || missing[${pair#*:}]=1
    elif [[ $tool == %* ]]; then
        "${PYTHON:-python3}" -c "import os, sys, sysconfig
sys.exit(not os.path.exists(sysconfig.get_path('include') + '/${tool#%}'))" || missing[${pair#*:}]=1
    else
        command -v "$tool" > /dev/null || missing[${pair#*:}]=1
    fi
done
((${#missing[@]})) || exit 0
mapfile -t packages < <(printf '%s\n' "${!missing[@]}" | sort)

if ! command -v apt-get > /dev/null; then
    echo "pydns: this is no Debian machine: install what Debian calls ${packages[*]}" >&2
    exit 1
fi
if [[ $(id -u) -ne 0 ]]; then
    echo "pydns: needed and not here: apt-get install ${packages[*]} (as root)" >&2
    exit 1
fi

log=$(mktemp)
policy=/usr/sbin/policy-rc.d
made_policy=
cleanup() {
    if [[ $made_policy ]]; then rm -f "$policy"; fi
    rm -f "$log"
}
trap cleanup EXIT
if [[ ! -e $policy ]]; then
    made_policy=1
    printf '#!/bin/sh\n# pydns, while its test tools are installed: start no service\nexit 101\n' > "$policy"
    chmod 755 "$policy"
fi

is_enabled() {
    compgen -G "/etc/systemd/system/*.wants/$1" > /dev/null
}
to_disable=()
for service in "${services[@]}"; do
    if ! is_enabled "$service"; then to_disable+=("$service"); fi
done

echo "pydns: installing Debian packages: ${packages[*]} ..."
export DEBIAN_FRONTEND=noninteractive
if ! { apt-get -qq update && apt-get -qq -o Dpkg::Use-Pty=0 install -y --no-install-recommends "${packages[@]}"; } \
    < /dev/null > "$log" 2>&1; then
    cat "$log" >&2
    echo "pydns: apt-get could not install ${packages[*]}: see above" >&2
    exit 1
fi

# What was new here must not take a port at the next boot either.
for service in "${to_disable[@]}"; do
    if is_enabled "$service"; then
        # The helper works for maintainer scripts only, and knows them by this variable.
        DPKG_MAINTSCRIPT_PACKAGE=${service%.service} deb-systemd-helper disable "$service" > /dev/null ||
            echo "pydns: $service is enabled now; disable it unless you want it" >&2
    fi
done
