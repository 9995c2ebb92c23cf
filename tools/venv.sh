#!/bin/sh
# Make .venv as requirements/$1.txt locks it ("run" or "dev") with pydns itself, editable; at once if it is so already.
set -eu
cd "$(dirname "$0")/.."

kind=$1
lock=requirements/$kind.txt
python=${PYTHON:-python3}
venv=.venv

fail() {
    echo "pydns: $*" >&2
    exit 1
}

command -v "$python" > /dev/null || fail "there is no '$python' here: name one with make PYTHON=/path/to/python3.11"
version=$("$python" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])')
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "$python is Python $version, and pydns needs 3.11 or newer: name one with make PYTHON=/path/to/python3.11"

# A stamp is the digest of all that the environment depends on; the directory is one of them, for a venv cannot be moved.
identity="$(pwd -P) $version"
digest() {
    { echo "$identity" && cat requirements/run.txt "requirements/$1.txt" pyproject.toml tools/venv.sh tools/compile_lane.py resolver/_lane.c resolver/_ask.c; } | sha256sum
}
is_there() {
    [ "$(cat "$venv/.installed-$1" 2> /dev/null)" = "$(digest "$1")" ]
}
if [ -x $venv/bin/python ] && [ -x $venv/bin/pydns ]; then
    if is_there dev || is_there "$kind"; then exit 0; fi # dev has all that run has
fi
if [ -e $venv ] && [ ! -w $venv ]; then
    fail "$venv belongs to somebody else (made with sudo?): sudo rm -rf $(pwd -P)/$venv"
fi

if ! "$python" -c 'import ensurepip, venv' 2> /dev/null; then
    # Debian keeps ensurepip in a package of its own.
    [ "$(id -u)" -eq 0 ] || fail "$python cannot make a virtual environment: apt-get install python3-venv (as root)"
    tools/debian.sh venv
    "$python" -c 'import ensurepip, venv' 2> /dev/null ||
        fail "$python ($version) still has no ensurepip: install the package that brings it, for instance python${version%.*}-venv"
fi

started=$(date +%s)
echo "pydns: installing what $lock locks into $venv (Python $version) ..."
if [ ! -x $venv/bin/python ] || [ "$(cat $venv/.made-for 2> /dev/null)" != "$identity" ]; then
    "$python" -m venv --clear $venv || fail "cannot make $venv with $python -m venv"
    echo "$identity" > $venv/.made-for
fi
pip() { # errors only: a warning about an index or a new pip helps nobody here
    PIP_DISABLE_PIP_VERSION_CHECK=1 $venv/bin/python -m pip -qq install --no-input "$@" ||
        fail "pip could not install: see above"
}
pip --require-hashes -r "$lock"
pip --no-deps --no-build-isolation -e .
$venv/bin/python -m compileall -q resolver || true # the first start should not pay for it
digest "$kind" > "$venv/.installed-$kind"
echo "pydns: installed in $(($(date +%s) - started)) s"
