#!/bin/bash
# Build the image where no registry is at hand, and no network in the build: the base by debootstrap, the wheels by pip.
#
#   tools/image.sh build [TAG]    everything, into the daemon that DOCKER_HOST names; TAG is pydns unless given
#   tools/image.sh fetch          only the bases and the wheels, which needs a Debian mirror and PyPI, and root
#
# SUITE=trixie takes another Debian; DIR=/var/tmp/pydns-image is where the base and the wheels stay, the base as it was on
# the day that it was made: remove it for one with today's fixes. DOCKER=/usr/bin/docker names another client.
set -euo pipefail
cd "$(dirname "$0")/.."

DIR=${DIR:-/var/tmp/pydns-image}
SUITE=${SUITE:-bookworm}
DOCKER=${DOCKER:-docker}
what=${1:?build or fetch}
tag=${2:-pydns}
include=python3,nftables,ca-certificates
compiler=gcc,libc6-dev,python3-dev
pip='pip==26.3 --hash=sha256:f3b60b20ffaadd4415ed7957212a38ac63fa4c5fa375bd0f4a797777940fad13'

[[ $what == build || $what == fetch ]] || { echo "$0: build or fetch?" >&2; exit 1; }
mkdir -p "$DIR"
exec 9> "$DIR/lock"
flock 9 # one at a time fetches; the others find it there

began=$(date +%s)
base=$DIR/$SUITE-$(sha256sum <<< "$include" | cut -c 1-8).tar
python_of=${base%.tar}.python
builder=$DIR/$SUITE-$(sha256sum <<< "$include,$compiler" | cut -c 1-8).tar
log=$(mktemp -d "$DIR/new.XXXXXX")
trap 'rm -rf --one-file-system "$log"' EXIT

make_base() { # a tar archive, and what is in it
    local mirror litter archive=$1 packages=$2 root=$log/${1##*/}.root
    [[ $(id -u) -eq 0 ]] || { echo "$0: the base needs root" >&2; return 1; }
    command -v debootstrap > /dev/null || { echo "$0: apt-get install debootstrap" >&2; return 1; }
    # This machine's own mirror, in deb822 or in one-line form.
    mirror=$({ cat /etc/apt/sources.list.d/*.sources /etc/apt/sources.list 2> /dev/null || true; } |
        awk '!url && /^URIs:/ { url = $2 } !url && /^deb / { for (i = NF; i > 1; i--) if ($i ~ /:\/\//) url = $i }
            END { print url }')
    [[ $mirror ]] || { echo "$0: /etc/apt names no mirror" >&2; return 1; }
    echo "image: debootstrap $SUITE ..."
    debootstrap --variant=minbase --include="$packages" "$SUITE" "$root" "$mirror" > "$log/debootstrap" 2>&1 ||
        { tail "$log/debootstrap" >&2; return 1; }
    # As Debian's own slim images: no documents but licences, no translations, no caches; and no device, no log.
    find "$root/usr/share/doc" ! -type d ! -name copyright -delete
    find "$root/usr/share/doc" -type d -empty -delete
    for litter in usr/share/{man,info,locale,lintian,bug} var/cache/{apt,debconf,ldconfig} var/lib/apt/lists var/log dev; do
        find "$root/$litter" -mindepth 1 -delete
    done
    rm -f "$root"/etc/{resolv.conf,hostname}
    readlink "$root/usr/bin/python3" | sed 's/[^0-9.]//g' > "$python_of"
    tar -C "$root" --numeric-owner -cf "$archive.new" .
    mv "$archive.new" "$archive"
}

make_wheels() { # for the base's Python, whichever is here
    local version=$1 platforms=() glibc
    for glibc in 2_36 2_28 2_17; do platforms+=(--platform "manylinux_${glibc}_$(uname -m)"); done
    "$python" -m pip --version > /dev/null 2>&1 || { echo "$0: $python has no pip: make .venv with 'make venv'" >&2; return 1; }
    { echo "$pip" && cat requirements/run.txt; } > "$log/all.txt"
    PIP_DISABLE_PIP_VERSION_CHECK=1 "$python" -m pip -qq download --no-input --only-binary=:all: --require-hashes \
        --python-version "$version" --implementation cp "${platforms[@]}" -d "$log/new/wheels" -r "$log/all.txt"
    mv "$log/new" "$wheels"
}

[[ -s $base && -s $python_of ]] || make_base "$base" "$include"
[[ -s $builder ]] || make_base "$builder" "$include,$compiler"
python=.venv/bin/python
[[ -x $python ]] || python=python3
wheels=$DIR/wheels-$(cat "$python_of")-$({ echo "$pip" && cat requirements/run.txt; } | sha256sum | cut -c 1-8)
[[ -d $wheels ]] || make_wheels "$(cat "$python_of")"
echo "image: the base ($(($(stat -c %s "$base") / 1000000)) MB), one with a compiler and the wheels are in $DIR, after $(($(date +%s) - began)) s"
[[ $what == build ]] || exit 0

load() { # an archive, and the name of an image: the day tells one from the next
    loaded=$2:$SUITE-$(date -u -d "@$(stat -c %Y "$1")" +%Y%m%d%H%M%S)
    [[ $("$DOCKER" images -q "$loaded") ]] ||
        "$DOCKER" import -c 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' "$1" "$loaded" > /dev/null
}
load "$base" pydns-base && name=$loaded
load "$builder" pydns-build && build_name=$loaded
# Not the folder as it is: wheels that were left there for another lock would be in the way.
tar --exclude=__pycache__ --exclude="*.so" --owner=0 --group=0 --mode=u+rw,a+rX -cf - \
    Dockerfile .dockerignore pyproject.toml README.md LICENSE requirements/run.txt tools/compile_lane.py resolver zones -C "$wheels" wheels |
    "$DOCKER" build --network none --build-arg "BASE=$name" --build-arg "BUILD_BASE=$build_name" -t "$tag" -
echo "image: $tag is built, after $(($(date +%s) - began)) s"
