# Two commands for a newcomer: `make demo` and `make test`. Everything is set up in .venv, nothing outside the
# checkout but pip's cache. State lives under .offbeat (or OFFBEAT_HOME).
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3
READY := $(VENV)/.ready
TSB := .bench/tsb
COMPILE := $(BIN)/uv pip compile pyproject.toml --universal --generate-hashes --python-version 3.11 \
  --no-emit-index-url --no-emit-find-links --no-header --quiet
export TF_CPP_MIN_LOG_LEVEL ?= 2

.PHONY: help setup demo test lint format up down status pictures bench bench-accuracy bench-ingest bench-streams bench-live bench-page lock schema clean

help:  ## Say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY)  ## Build .venv from the lock (PYTHON=python3.12 chooses another Python)

$(READY): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || { \
	  echo "Offbeat needs Python 3.11, 3.12 or 3.13; \`$(PYTHON)\` is $$($(PYTHON) --version 2>&1)." >&2; \
	  echo "Name another one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { \
	  echo "\`$(PYTHON) -m venv\` failed; on Debian and Ubuntu: apt-get install python3-venv" >&2; \
	  rm -rf $(VENV); exit 1; }
	@echo "Installing the lock into $(VENV): about a minute, 3.5 GB"
	@# uv comes from the lock, with its hashes, like everything else; where it cannot reach an index, pip can.
	@awk '/^uv==/ { take = 1 } /^[^ #]/ && !/^uv==/ { take = 0 } take' requirements.txt > $(VENV)/uv.txt
	@$(BIN)/python -m pip install --quiet --require-hashes -r $(VENV)/uv.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode --require-hashes -r requirements.txt || { \
	  echo "uv could not; trying with pip, which takes longer" >&2; \
	  $(BIN)/python -m pip install --quiet --require-hashes -r requirements.txt; }
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(READY)  ## Simulate, ingest, train, score and alert through Airflow (DATA=folder: on real data)
	$(BIN)/offbeat demo $(if $(DATA),--data $(DATA))

test: $(READY)  ## Run all tests (T=tests/dags: some of them; WORKERS=4: more at once)
	$(BIN)/pytest $(or $(T),tests) --durations=10 --numprocesses=$(or $(WORKERS),2) --dist=loadfile --no-loadscope-reorder

lint: $(READY)  ## ruff, mypy strict, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)  ## Let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

up: $(READY)  ## Leave Airflow, MLflow and a live simulator running
	$(BIN)/offbeat up

down: $(READY)  ## Stop what `make up` or `make demo` left running
	$(BIN)/offbeat down

status: $(READY)  ## Say how every stream does
	$(BIN)/offbeat status

pictures: $(READY)  ## Make the README's pictures again
	$(BIN)/offbeat demo --pictures docs/images

bench: $(READY)  ## Accuracy and throughput, against peers and targets
	@for file in benchmarks/[a-z]*.py; do $(BIN)/python -m benchmarks.$$(basename $$file .py); done

bench-accuracy: $(READY) $(if $(OFFBEAT_TSB_PYTHON),,$(TSB)/.ready)  ## How well it detects, by other people's judges (ARGS=)
	$(BIN)/python -m benchmarks.accuracy $(ARGS)

$(TSB)/.ready: benchmarks/accuracy/tsb_env.sh
	@PYTHON=$(BIN)/python benchmarks/accuracy/tsb_env.sh $(TSB)
	@touch $@

bench-ingest: $(READY)  ## Rows a second and peak memory of ingest
	$(BIN)/python -m benchmarks.ingest

bench-streams: $(READY)  ## Rows a second, lateness and memory of each source, on real servers
	$(BIN)/python -m benchmarks.streams --out benchmarks/results/streams.md

bench-live: $(READY)  ## Records a second and seconds to an alert, from Kafka to scores
	$(BIN)/python -m benchmarks.live --out benchmarks/results/live.md

bench-page: $(READY)  ## How fast the Anomalies page is over a year of seconds
	$(BIN)/python -m benchmarks.page --out benchmarks/results/page.md

lock: $(READY)  ## Compile the locks from pyproject.toml (UPGRADE=1: to the newest versions)
	$(COMPILE) --extra dev --extra kafka --extra mqtt --extra postgres $(if $(UPGRADE),--upgrade) -o requirements.txt
	$(COMPILE) --extra celery --extra kafka --extra mqtt --extra postgres -c requirements.txt -o docker/requirements.txt

schema: $(READY)  ## Write the JSON Schemas that editors complete YAML from, and docs/streams.md
	$(BIN)/offbeat schema --reference docs/streams.md

clean:  ## Remove .venv and caches; .offbeat, which holds data, stays
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
