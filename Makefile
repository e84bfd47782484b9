# `make repro` and `make test` do their own set-up in a fresh clone; later calls reuse the environment.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile
WORKERS ?= 2
PARAMS ?= params/paper-demo.yaml
PORT ?= 4200
export HF_HUB_DISABLE_TELEMETRY = 1
export TOKENIZERS_PARALLELISM = false

.PHONY: help shell repro flow paper ui docs picture test test-browser test-flow test-gpu test-serving test-all lint format clean

help:
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

# torch is installed first and by its exact version, because pip may otherwise fetch gigabytes of CUDA libraries. pip
# would compile bytecode on one core, which is a third of the set-up time; compileall uses all cores. A few libraries
# have templates of code and examples of former Pythons that cannot be compiled: they are no error.
.venv/installed: pyproject.toml constraints.txt
	@echo "Set-up, once: about 3.5 minutes, 2.5 GB in .venv"
	@echo "1 of 4: an environment of its own, .venv ($$($(PYTHON) --version))"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "2 of 4: torch"
	@$(PIP) "$$(grep '^torch==' constraints.txt)"
	@echo "3 of 4: all other libraries, at the versions of constraints.txt"
	@$(PIP) -c constraints.txt -e '.[dev,flow,dask,browser]'
	@echo "4 of 4: compiling them"
	@$(BIN)/python -W ignore -m compileall -qq -j 0 .venv/lib || true
	@touch $@
	@echo "Set-up is done. \`make shell\` opens a shell in which ream and dvc are found (or: source .venv/bin/activate)"

shell: .venv/installed ## a shell in which ream, dvc and the tests' tools are found; leave it with exit
	@echo "ream and dvc are found in this shell; leave it with exit"
	@PATH="$(CURDIR)/$(BIN):$$PATH" VIRTUAL_ENV="$(CURDIR)/.venv" $${SHELL:-/bin/sh}

repro: .venv/installed ## the whole demo graph: compressed models, scores, report
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m flows.compared_code
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m flows.warmed $(BIN)/python -m flows.quick_dvc repro
	@cat reports/results.md
	@echo "Results: reports/index.html   metrics: dvc metrics show   compressed model: models/"

flow: .venv/installed ## the same graph as a Prefect flow, WORKERS (2) stages at once; watch it at the address that it prints
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m flows run --workers $(WORKERS)

# Writes PARAMS, with what it extends, into params.yaml; refuses if params.yaml has changes that are in no other file.
paper: .venv/installed ## the paper's tables and figures; PARAMS (params/paper-demo.yaml) is written out to params.yaml
	@git diff --quiet HEAD -- params.yaml && force=--force; $(BIN)/ream params resolve $(PARAMS) $$force
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m flows run --workers $(WORKERS)
	@echo "Report: reports/index.html   back to the demo: git checkout params.yaml dvc.lock && dvc checkout"

ui: .venv/installed ## a Prefect server on this machine (PORT=4200), to start the graph and watch it in a browser
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m flows ui --port $(PORT)

docs: .venv/installed ## the pages of docs/ and the Python API as a site, site/index.html, which needs no network
	@$(BIN)/python -c 'import mkdocs, material' 2>/dev/null || $(PIP) -c constraints.txt -e '.[docs]'
	PATH="$(CURDIR)/$(BIN):$$PATH" NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --clean
	@echo "Site: site/index.html"

picture: .venv/installed ## the README's picture again, from the demo's report
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m flows.warmed $(BIN)/python -m flows.quick_dvc repro report
	cp reports/figures/quality-against-size.svg docs/quality-against-size.svg

test: .venv/installed ## the default tests: no network, no GPU, about 6 minutes
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest

test-browser: .venv/installed ## the tests of the UI and the report in a browser, if chromium is installed; part of CI
	@if command -v chromium || command -v chromium-browser; then \
	    PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest -n 0 -m browser tests/flows tests/analysis; \
	else echo "SKIPPED: the browser tests need chromium; apt-get install chromium"; fi

test-flow: .venv/installed ## the tests with Prefect servers, and those in a browser if chromium is installed
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest -n 2 -m 'flow or browser'

test-gpu: .venv/installed ## the tests that need a GPU
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest -n 0 -m gpu

# The clients get an environment of their own, .venv-serving; the tests of a client that cannot be installed are skipped.
test-serving: .venv/installed ## compressed models in vLLM and llama.cpp; builds both first, once
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m tests.serving.install
	PATH="$(CURDIR)/$(BIN):$$PATH" nice $(BIN)/python -m pytest -n 0 -m serving tests/serving

test-all: .venv/installed ## all tests that need no GPU and no server, including the slow ones
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest -m 'not gpu and not serving'

lint: .venv/installed ## formatting, lint and types
	$(BIN)/pre-commit run --all-files --show-diff-on-failure

format: .venv/installed ## format, and fix what ruff can fix
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## remove all results; the environment stays
	rm -rf artifacts models reports
