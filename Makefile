# Everything starts from Python 3.11 and make. uv is used when it is there, and fetched into a folder of its own
# when it is not.
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/switchboard
OWN_UV := $(CACHE)/uv/bin/uv
UV := $(or $(shell command -v uv 2>/dev/null),$(OWN_UV))

# Where this is set every process compiles its thousand modules anew, and tests start hundreds of processes.
unexport PYTHONDONTWRITEBYTECODE

# Tests of a file share what it starts; in the order given, the long ones begin before the many short ones.
BY_FILE := --dist loadfile --no-loadscope-reorder

.PHONY: help up down test check format bench lock-check sync

help:
	@echo "make up      the whole stack on this machine; Ctrl-C stops it"
	@echo "make down    stop what runs"
	@echo "make test    all tests"
	@echo "make check   format, lint, types, lock file"
	@echo "make bench   measure calls"

up: | $(UV)
	@$(UV) sync --frozen --no-dev --inexact --quiet
	@.venv/bin/switchboard up

down:
	@.venv/bin/switchboard down

test: sync
	$(UV) run --frozen pytest -n 5 $(BY_FILE) -m "not timed and not alone"
	$(UV) run --frozen pytest -n 3 $(BY_FILE) -m timed
	$(UV) run --frozen pytest -m alone

check: sync
	$(UV) run --frozen ruff format --check
	$(UV) run --frozen ruff check
	$(UV) run --frozen mypy
	$(UV) lock --check --quiet

format: sync
	$(UV) run --frozen ruff check --fix
	$(UV) run --frozen ruff format

bench: sync
	$(UV) run --frozen python -m bench.voice $(BENCH)

# The locked versions have wheels for the other Pythons too; those need not be installed.
lock-check: sync
	@for python in 3.12 3.13; do \
		$(UV) export --frozen --no-emit-project --no-hashes --no-annotate --quiet > .venv/locked.txt && \
		$(UV) pip compile --quiet --no-deps --only-binary :all: --python-version $$python .venv/locked.txt >/dev/null && \
		echo "the lock resolves for Python $$python" || exit 1; \
	done

sync: | $(UV)
	@$(UV) sync --frozen --quiet

$(OWN_UV):
	@echo "installing uv into $(CACHE)/uv"
	@python3 -m venv "$(CACHE)/uv" && "$(CACHE)/uv/bin/pip" install --quiet "uv>=0.9,<1" || { \
		rm -rf "$(CACHE)/uv"; \
		echo "uv could not be installed: install it yourself (pipx install uv), or python3-venv for this to work." >&2; \
		exit 2; }
