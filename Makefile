# make demo: the main job on this project's own documentation. make test: the suite.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PACKAGES := -e integrations/langchain-rankgate -e integrations/llama-index-postprocessor-rankgate
MANIFESTS := pyproject.toml constraints.txt $(wildcard integrations/*/pyproject.toml)
export HF_HUB_OFFLINE ?= 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow lint types wheels bench clean

help:
	@echo "make demo       install, ingest docs/, ask four questions"
	@echo "make test       install, lint, type-check and run the tests"
	@echo "make test-slow  the suites that take minutes"
	@echo "make wheels     build the three distributions into dist/"
	@echo "make bench      benchmarks on ../shared/data (minutes to an hour)"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "rankgate needs Python 3.11 or newer; run: make PYTHON=/path/to/python3.11 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(BIN)/python $(MANIFESTS)
	@echo "Installing rankgate into $(VENV) (a few minutes the first time) ..."
	@$(BIN)/python -m pip install -q -c constraints.txt -e '.[all]' $(PACKAGES)
	@touch $@

$(VENV)/.test: $(BIN)/python $(MANIFESTS)
	@echo "Installing rankgate with its test tools into $(VENV) (a few minutes the first time) ..."
	@$(BIN)/python -m pip install -q -c constraints.txt -e '.[all,dev]' $(PACKAGES)
	@touch $@ $(VENV)/.demo

demo: $(VENV)/.demo
	@$(BIN)/rankgate demo

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.test
	$(BIN)/mypy

test: $(VENV)/.test lint types
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-slow: $(VENV)/.test
	$(BIN)/python -m pytest -m slow --timeout 1800

wheels: $(VENV)/.test
	$(BIN)/python -m build -q --outdir dist .
	$(BIN)/python -m build -q --outdir dist integrations/langchain-rankgate
	$(BIN)/python -m build -q --outdir dist integrations/llama-index-postprocessor-rankgate

bench: $(VENV)/.test
	$(BIN)/python benchmarks/first_stage.py --out eval/results/first_stage

clean:
	rm -rf dist build .rankgate .pytest_cache .mypy_cache .ruff_cache
