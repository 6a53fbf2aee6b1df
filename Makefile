# sluice. `make help` lists what there is; the help is the comment after ##.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
FAULTS ?=
FULL ?=
MINUTES ?= 2

.DEFAULT_GOAL := help
.PHONY: help install demo run test lint check bench soak fuzz generate lock clean

help: ## Say what each target does
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(INSTALLED) ## Make .venv with everything that the lock names, checked by hash

$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "sluice needs Python 3.11 or newer: make PYTHON=python3.12 ..."'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: install ## Watch edits walk the whole line, offline, in a minute; FAULTS=storm kills steps meanwhile
	@$(BIN)/sluice demo --faults $(or $(FAULTS),none)

run: install ## The whole line against the live Wikimedia stream, with its own Kafka
	@$(BIN)/sluice run

# One process more than two cores: tests wait for Kafka much of their time.
test: install ## Test every promise on a real Kafka (under 10 minutes)
	$(BIN)/python -m pytest -m "not soak" --numprocesses 3 --dist loadscope --no-loadscope-reorder

lint: install ## Format, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint test ## What CI runs; run it before every push

bench: install ## Speed and memory, each against a named baseline of the same run; FULL=--full for the goals' sizes
	$(BIN)/python tests/bench.py $(FULL)

soak: install ## What takes longer than the tests may: storms and wide random search
	$(BIN)/python -m pytest -m soak

fuzz: install ## Search for texts that break a reader, MINUTES each (Linux, Python 3.11 to 3.13)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --target $(VENV)/fuzz \
		--upgrade -r requirements-fuzz.lock
	PYTHONPATH=$(CURDIR)/$(VENV)/fuzz:$(CURDIR) $(BIN)/python tests/fuzz.py $(MINUTES) $(VENV)/fuzzed

generate: install ## Write what deploy/ repeats from the code: settings, metrics, topics, dashboard
	$(BIN)/python -m deploy.generate

lock: ## Write requirements.lock anew from pyproject.toml
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --generate-hashes --no-emit-index-url \
		--no-header --quiet --output-file requirements.lock

clean: ## Remove what install and the tools made here
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
