# pydns: `make run` needs Debian's python3 and make, and nothing else.
# PYTHON picks the interpreter (3.11 or newer), ARGS adds flags to what a target starts.

PYTHON ?= python3
ARGS   ?=
BIN    := .venv/bin
UV     := 0.13.8

export PYTHON
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help run demo test check lock bench clean venv venv-dev

help: ## show this list
	@echo "Usage: make TARGET [ARGS='flags'] [PYTHON=python3.12]"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-9s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

run: venv ## install what is locked, then start `pydns serve` in the foreground (flags: ARGS='--listen 127.0.0.1:5300')
	@exec $(BIN)/pydns serve $(ARGS)

demo: ## a guided tour in real network namespaces, taken away at the end (root)
	@[ "$$(id -u)" -eq 0 ] || { echo "make demo: it makes network namespaces, so it needs root: sudo make demo" >&2; exit 1; }
	@tools/debian.sh demo
	@tools/venv.sh run
	@$(BIN)/python -m tests.netns.demo $(ARGS)

test: ## install what the tests need, then run them all; a skipped test is a failed one (root)
	@[ "$$(id -u)" -eq 0 ] || { echo "make test: the namespace tests need root: sudo make test (without them: .venv/bin/pytest -m 'not root')" >&2; exit 1; }
	@tools/debian.sh test
	@tools/venv.sh dev
	@NO_SKIPS=1 $(BIN)/python -m pytest -n 2 --dist loadgroup $(ARGS)

check: venv-dev ## formatting, lint, types, layers, Dockerfile and shell scripts (< 1 min)
	@tools/check.sh

lock: ## resolve pyproject.toml again into requirements/*.txt (newer versions: ARGS=--upgrade)
	@[ -x build/uv/bin/uv ] || $(PYTHON) -m venv build/uv
	@build/uv/bin/python -m pip install -qq uv==$(UV)
	@build/uv/bin/uv pip compile $(LOCK) --group build -o requirements/run.txt > /dev/null
	@build/uv/bin/uv pip compile $(LOCK) --group build --group dev -c requirements/run.txt -o requirements/dev.txt > /dev/null

LOCK = -q --universal --generate-hashes --python-version 3.11 --no-emit-find-links --no-emit-index-url \
       --no-annotate --custom-compile-command 'make lock' --all-extras $(ARGS) pyproject.toml

bench: venv ## pydns beside its peers (< 10 min; ARGS='--json FILE', --help for more; all parts as root only)
	@tools/debian.sh bench
	@$(BIN)/python -m benchmarks $(ARGS)

clean: ## remove everything that make made
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

venv:
	@tools/venv.sh run

venv-dev:
	@tools/venv.sh dev
