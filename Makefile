# `make repro` and `make test` do all their own set-up in a fresh clone; a second call re-uses the environment.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile
WORKERS ?= 2
PARAMS ?= params/paper-demo.yaml
PORT ?= 4200
export HF_HUB_DISABLE_TELEMETRY = 1
export TOKENIZERS_PARALLELISM = false

.PHONY: help repro flow paper ui test test-browser test-flow test-gpu test-all lint format clean

help:
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

# torch comes first and by its exact version: any other way of asking may fetch gigabytes of CUDA libraries. pip would
# compile what it installs on one core; that takes a third of the time.
.venv/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) "$$(grep '^torch==' constraints.txt)"
	$(PIP) -c constraints.txt -e '.[dev,flow,dask,browser]'
	-@$(BIN)/python -m compileall -qq -j 0 .venv/lib
	@touch $@

repro: .venv/installed ## the whole demo graph: models, scores, report
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/dvc repro
	@cat reports/results.md
	@echo "Results: reports/index.html   metrics: dvc metrics show   compressed model: models/"

flow: .venv/installed ## the same graph as a Prefect flow: WORKERS stages at once (2), seen at the address it prints
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m flows run --workers $(WORKERS)

# params.yaml becomes PARAMS. Changes of one's own are in no other file, and stay.
paper: .venv/installed ## the paper's tables and figures, with the grid of PARAMS (params/paper-demo.yaml) as params.yaml
	@git diff --quiet HEAD -- params.yaml || { for file in params/*.yaml; do cmp -s "$$file" params.yaml && own=no; done; \
	    test -n "$$own"; } || { echo "params.yaml has changes of your own: commit or undo them, then run this again"; exit 2; }
	cp $(PARAMS) params.yaml
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m flows run --workers $(WORKERS)
	@echo "Report: reports/index.html   back to the demo: git checkout params.yaml dvc.lock && dvc checkout"

ui: .venv/installed ## a Prefect server on this machine (PORT) where the graph can be started and watched
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m flows ui --port $(PORT)

test: .venv/installed ## the default tests: no network, no GPU, under 5 minutes
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest

test-browser: .venv/installed ## the UI and the report in a browser, where there is chromium; CI runs it, too
	@if command -v chromium || command -v chromium-browser; then \
	    PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest -n 0 -m browser tests/flows tests/analysis; \
	else echo "SKIPPED: the UI and the report in a browser: there is no chromium; apt-get install chromium"; fi

test-flow: .venv/installed ## the tests with Prefect servers, and in a browser where there is chromium
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest -n 2 -m 'flow or browser'

test-gpu: .venv/installed ## the tests that need a GPU
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest -n 0 -m gpu

test-all: .venv/installed ## with the slow tests
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest -m 'not gpu'

lint: .venv/installed ## formatting, lint and types
	$(BIN)/pre-commit run --all-files --show-diff-on-failure

format: .venv/installed ## rewrite what ruff can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## remove results, keep the environment
	rm -rf artifacts models reports
