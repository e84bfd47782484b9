# `make repro` and `make test` do their own set-up in a fresh clone; later calls reuse the environment.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile
WORKERS ?= 2
PARAMS ?= params/paper-demo.yaml
PORT ?= 4200
export HF_HUB_DISABLE_TELEMETRY = 1
export TOKENIZERS_PARALLELISM = false

.PHONY: help repro flow paper ui test test-browser test-flow test-gpu test-serving test-all lint format clean

help:
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

# torch is installed first and by its exact version, because pip may otherwise fetch gigabytes of CUDA libraries. pip
# would compile bytecode on one core, which is a third of the set-up time; compileall uses all cores.
.venv/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) "$$(grep '^torch==' constraints.txt)"
	$(PIP) -c constraints.txt -e '.[dev,flow,dask,browser]'
	-@$(BIN)/python -m compileall -qq -j 0 .venv/lib
	@touch $@

repro: .venv/installed ## the whole demo graph: compressed models, scores, report
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m flows.compared_code
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m flows.warmed $(BIN)/python -m flows.quick_dvc repro
	@cat reports/results.md
	@echo "Results: reports/index.html   metrics: dvc metrics show   compressed model: models/"

flow: .venv/installed ## the same graph as a Prefect flow, WORKERS (2) stages at once; watch it at the address that it prints
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m flows run --workers $(WORKERS)

# Replaces params.yaml by PARAMS; refuses if params.yaml has changes that are in no other file.
paper: .venv/installed ## the paper's tables and figures; PARAMS (params/paper-demo.yaml) replaces params.yaml
	@git diff --quiet HEAD -- params.yaml || { for file in params/*.yaml; do cmp -s "$$file" params.yaml && own=no; done; \
	    test -n "$$own"; } || { echo "params.yaml has changes that no other file has: commit or undo them, then run this again"; exit 2; }
	cp $(PARAMS) params.yaml
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m flows run --workers $(WORKERS)
	@echo "Report: reports/index.html   back to the demo: git checkout params.yaml dvc.lock && dvc checkout"

ui: .venv/installed ## a Prefect server on this machine (PORT=4200), to start the graph and watch it in a browser
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m flows ui --port $(PORT)

test: .venv/installed ## the default tests: no network, no GPU, under 5 minutes
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
