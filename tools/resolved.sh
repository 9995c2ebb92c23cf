#!/bin/bash
# Unpack Debian's systemd-resolved into build/resolved for the tests, which run it in namespaces of their own.
# Never installed: its package takes /etc/resolv.conf over and enables a service.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(systemd-resolved libsystemd-shared)
folder=$PWD/build/resolved
[[ ! -e $folder/usr/bin/resolvectl ]] || exit 0
if ! command -v apt-get > /dev/null || ! command -v dpkg-deb > /dev/null; then
    echo "pydns: this is no Debian machine: unpack systemd's resolved into $folder" >&2
    exit 1
fi

echo "pydns: unpacking ${packages[*]} into build/resolved ..."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work" # apt downloads as another user
cd "$work"
fetch() { apt-get -qq download "${packages[@]}" > "$work/log" 2>&1; }
update() { [[ $(id -u) -ne 0 ]] || apt-get -qq update > "$work/log" 2>&1; }
if ! fetch && ! { update && fetch; }; then
    cat "$work/log" >&2
    echo "pydns: apt-get could not download ${packages[*]}: see above" >&2
    exit 1
fi
mkdir -p "$work/tree"
for package in "$work"/*.deb; do dpkg-deb -x "$package" "$work/tree"; done
rm -rf "$folder"
mkdir -p "$(dirname "$folder")"
mv "$work/tree" "$folder"
