# make up    everything on this machine        make test   the whole suite (ARGS="-k name" for pytest)
# make check format, lint, types, audit, unit tests   make bench, make chaos, make lock, make clean
PYTHON ?= python3
UV ?= uv
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
COMPILE := UV_NO_CONFIG=1 $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header $(ARGS)
EXTRA := $(PYTHON) -c 'import sys, tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"][sys.argv[1]], sep="\n")'

.PHONY: up test check bench chaos lock clean
.DEFAULT_GOAL := up

up: $(VENV)/.runtime
	@exec $(BIN)/bowerbird up

test: $(VENV)/.dev
	@exec $(BIN)/python -m pytest -n auto $(ARGS)

check: $(VENV)/.dev
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tests.security.audit requirements.lock requirements-tracing.lock
	$(BIN)/python -m pytest -n auto tests/unit $(ARGS)

# QUICK=1 for little of everything, within two minutes; ARGS="--only accept" for a section.
bench: $(VENV)/.runtime
	@exec $(BIN)/python -m bench $(if $(QUICK),--quick) $(ARGS)

chaos: $(VENV)/.dev
	@exec $(BIN)/python -m tests.chaos $(ARGS)

# The stamps depend on what they install, so that a changed lock is installed by whatever is made next.
$(VENV)/.runtime: requirements.lock requirements-build.lock pyproject.toml | $(VENV)/.made
	@echo "Installing the dependencies into $(VENV) (half a minute the first time) ..."
	@$(PIP) install --require-hashes -r requirements.lock -r requirements-build.lock
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: requirements-dev.lock $(VENV)/.runtime
	@echo "Installing the development tools into $(VENV) ..."
	@$(PIP) install --require-hashes -r requirements-dev.lock
	@touch $@

$(VENV)/.made:
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is missing: install Python 3.11 or newer, or name one: make PYTHON=..."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 15))' || \
	  { echo "Bowerbird needs Python 3.11 to 3.14, not $$($(PYTHON) -V 2>&1); name another: make PYTHON=python3.12"; exit 1; }
	@echo "Making $(VENV) ..."
	@$(PYTHON) -m services.local.venv $(VENV)
	@touch $@

# Keeps the versions that the locks have; `make lock ARGS=--upgrade` takes the newest. Each lock holds to the ones before it.
lock:
	@$(COMPILE) pyproject.toml -o requirements.lock
	@printf 'hatchling\neditables\n' | $(COMPILE) - -c requirements.lock -o requirements-build.lock
	@$(EXTRA) tracing | $(COMPILE) - -c requirements.lock -o requirements-tracing.lock
	@printf 'hatchling\neditables\n' | $(COMPILE) pyproject.toml - --extra tracing --group dev \
	  -c requirements.lock -c requirements-build.lock -c requirements-tracing.lock -o requirements-dev.lock
	@$(EXTRA) embedded | $(COMPILE) - -o requirements-embedded.lock

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
