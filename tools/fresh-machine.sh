#!/bin/bash
# Prove the promise of the README on a machine that has only Debian's python3 and make (root).
#
#   tools/fresh-machine.sh run      make run, and the seconds until it answers a dig
#   tools/fresh-machine.sh test     make test       tools/fresh-machine.sh ci      .ci/run
#   tools/fresh-machine.sh shell    look around     tools/fresh-machine.sh CMD...  any command, in the clone
#
# SUITE=trixie takes another Debian; TREE=working takes the working tree with what is not committed yet;
# DIR=/var/tmp/pydns-fresh is where the bases stay; KEEP=1 goes on with the last machine. Mounts live in a namespace
# of their own and are gone with it.
set -euo pipefail
cd "$(dirname "$0")/.."

DIR=${DIR:-/var/tmp/pydns-fresh}
SUITE=${SUITE:-bookworm}
TREE=${TREE:-HEAD}
what=${1:?run, test, ci, shell, or a command}
base=$DIR/$SUITE
root=$DIR/machine
[[ $(id -u) -eq 0 ]] || { echo "$0: needs root" >&2; exit 1; }

if [[ ! -e $base/.complete ]]; then
    command -v debootstrap > /dev/null || { echo "$0: apt-get install debootstrap" >&2; exit 1; }
    # This machine's own mirror, in deb822 or in one-line form.
    mirror=$({ cat /etc/apt/sources.list.d/*.sources /etc/apt/sources.list 2> /dev/null || true; } |
        awk '!url && /^URIs:/ { url = $2 } !url && /^deb / { for (i = NF; i > 1; i--) if ($i ~ /:\/\//) url = $i }
            END { print url }')
    [[ $mirror ]] || { echo "$0: /etc/apt names no mirror" >&2; exit 1; }
    echo "fresh-machine: debootstrap $SUITE into $base ..."
    mkdir -p "$base"
    debootstrap --variant=minbase --include=python3,make,ca-certificates "$SUITE" "$base" "$mirror" > "$DIR/$SUITE.log"
    touch "$base/.complete"
fi

if [[ ! ${KEEP:-} || ! -d $root ]]; then
    rm -rf --one-file-system "$root"
    cp -a "$base" "$root"
    rm -f "$root/.complete"
    # How this machine reaches its registries: apt's and pip's settings, its certificates, its resolver.
    cp -L /etc/resolv.conf /etc/hosts "$root/etc/"
    for setting in /etc/pip.conf /etc/ssl/certs/ca-certificates.crt /etc/apt/apt.conf.d/99*; do
        if [[ -e $setting ]]; then install -D -m 644 "$setting" "$root$setting"; fi
    done
    mapfile -t sources < <(grep -l "^Suites:.*$SUITE" /etc/apt/sources.list.d/*.sources 2> /dev/null || true)
    if ((${#sources[@]})); then
        rm -f "$root/etc/apt/sources.list" && cp "${sources[@]}" "$root/etc/apt/sources.list.d/"
    fi
    mkdir -p "$root/src"
    if [[ $TREE == working ]]; then
        mkdir "$root/src/pydns"
        git ls-files -coz --exclude-standard | xargs -0 sh -c 'ls -d -- "$@" 2> /dev/null | tr "\n" "\0"' _ |
            tar --null -T - -c | tar -x -C "$root/src/pydns"
    else
        git clone -q --no-hardlinks . "$root/src/pydns"
    fi
fi

# The environment of a login on such a machine, and what says where this workplace's certificates are.
settings=(HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin TERM="${TERM:-dumb}" LANG=C.UTF-8)
for name in PIP_CERT PIP_DEFAULT_TIMEOUT SSL_CERT_FILE SSL_CERT_DIR REQUESTS_CA_BUNDLE; do
    if [[ ${!name:-} ]]; then settings+=("$name=${!name}"); fi
done

# The machine's own mounts and processes, which end with the command that is run in it.
# shellcheck disable=SC2016  # expanded by the inner shell
machine=(unshare --mount --pid --fork --kill-child -- bash -euc '
    root=$1
    shift
    # A root that is a mount of its own, as a machine has: without one `ip netns` cannot share its mounts.
    mount --bind "$root" "$root"
    mount -t proc proc "$root/proc"
    mount -t sysfs sysfs "$root/sys"
    if mountpoint -q /sys/fs/cgroup; then mount --rbind /sys/fs/cgroup "$root/sys/fs/cgroup"; fi
    mount --rbind /dev "$root/dev"
    mount -t tmpfs tmpfs "$root/run"
    mkdir -p "$root/run/lock"
    cd "$root"
    mkdir -p .host
    pivot_root . .host
    umount -l .host
    exec chroot . /usr/bin/env -i "${@}"
' bash "$root" "${settings[@]}" bash -c 'cd /src/pydns && exec "$@"' bash)

began=$(date +%s.%N)
since() { awk -v a="$began" -v b="$(date +%s.%N)" 'BEGIN { printf "%.1f s", b - a }'; }

case $what in
    run)
        command -v dig > /dev/null || { echo "$0: apt-get install bind9-dnsutils" >&2; exit 1; }
        "${machine[@]}" make run ARGS="${ARGS:-}" &
        runner=$!
        trap 'kill -KILL "$runner" 2> /dev/null || true; wait "$runner" 2> /dev/null || true' EXIT
        until dig +time=1 +tries=1 +short @127.0.0.1 -p "${PORT:-5353}" db 2> /dev/null | grep -qE '^[0-9.]+$'; do
            kill -0 "$runner" 2> /dev/null || { echo "fresh-machine: make run ended after $(since)" >&2; exit 1; }
            if (($(date +%s) - ${began%.*} > 120)); then echo "fresh-machine: no answer in 120 s" >&2; exit 1; fi
            sleep 0.1
        done
        echo "fresh-machine: from 'make run' to the first answer of a dig: $(since)"
        dig @127.0.0.1 -p "${PORT:-5353}" db
        ;;
    test) "${machine[@]}" make test && echo "fresh-machine: make test passed in $(since)" ;;
    ci) "${machine[@]}" env CI=true bash .ci/run && echo "fresh-machine: .ci/run passed in $(since)" ;;
    shell) "${machine[@]}" bash ;;
    *) "${machine[@]}" "$@" && echo "fresh-machine: done in $(since)" ;;
esac
