# `make demo` and `make test` do all their own set-up; see README.md.
# PYTHON may name any Python 3.11 or newer.
PYTHON ?= $(firstword $(shell command -v python3.11 python3 2>/dev/null) python3)
UV_VERSION := 0.13.8
BIN := .venv/bin
READY := .venv/.ready
OUT ?= demo-out
JOBS ?= 2
# Strict for the package; a test's functions may stay without annotations.
LOOSE := --explicit-package-bases --allow-untyped-defs --allow-incomplete-defs \
	--allow-untyped-calls --no-warn-return-any

.PHONY: help demo sabotage test check fast lock clean screenshots bench
.DEFAULT_GOAL := help

help:
	@echo "make demo         set up, then go from a simulated cell to volumes (OUT=$(OUT))"
	@echo "make sabotage     spoil the demo in four ways that it must notice"
	@echo "make test         set up, then run every test"
	@echo "make check        lint, types, layers, package contents"
	@echo "make fast         only the tests that need no process"
	@echo "make screenshots  take the docs' picture of Tiled's page, in Chromium"
	@echo "make bench        10,000 random lives of the dose ledger; some twenty minutes"
	@echo "make lock         resolve the dependencies anew into requirements.lock"

demo: $(READY)
	$(BIN)/cryoline demo --out $(OUT)

# Each kind of error that the demo must notice, made on purpose; two minutes each.
sabotage: $(READY)
	CRYOLINE_SABOTAGE=1 $(BIN)/pytest tests/test_demo.py -k spoiled

# Two processes, each with a laboratory of its own: most tests wait, for what they look at.
test: $(READY)
	$(BIN)/pytest -n $(JOBS) --dist loadfile

# Beyond what CI has time for; ends with status 1 if something can overspend.
bench: $(READY)
	$(BIN)/python bench/dose_machine.py

fast: $(READY)
	$(BIN)/pytest -m "not lab and not tiled and not demo"

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	MYPYPATH=.links:tests:bench $(BIN)/mypy $(LOOSE) tests bench
	$(BIN)/lint-imports
	$(BIN)/python tests/wheel_contents.py

# Of what `make demo` left in OUT, or of a drawn wire.
screenshots: $(READY)
	@command -v chromium >/dev/null || { echo "installing chromium"; \
		SUDO=$$([ "$$(id -u)" = 0 ] || echo sudo); $$SUDO apt-get update -qq && \
		$$SUDO apt-get install -y -qq --no-install-recommends chromium >/dev/null; }
	$(BIN)/python docs/screenshots.py \
		$(addprefix --config ,$(wildcard $(OUT)/lab/instrument.toml))

lock:
	$(BIN)/uv pip compile -q --python-version 3.11 --extra dev --generate-hashes \
		--no-header --no-annotate pyproject.toml -o requirements.lock

clean:
	rm -rf .venv .links dist demo-out .mypy_cache .ruff_cache .pytest_cache

# Debian's python3 comes without the module that puts pip into a new environment.
$(READY): requirements.lock pyproject.toml hatch_build.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "cryoline needs Python 3.11 or newer; $(PYTHON) is older. Set PYTHON=..."; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { \
		echo "installing python3-venv, which $(PYTHON) lacks"; \
		SUDO=$$([ "$$(id -u)" = 0 ] || echo sudo); \
		$$SUDO apt-get update -qq && $$SUDO apt-get install -y -qq python3-venv; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	# Compiled here once: each of the many processes would do it at each start.
	$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode \
		--require-hashes -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@
