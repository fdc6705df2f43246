# Every target makes its own virtual environment when it is missing or older than the dependency lists.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Processes of the tests, a file of tests each at a time; 0 runs all in one process (for a debugger).
WORKERS ?= 2
PYTEST := $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help install demo test test-all lint format system-deps clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

# torch and torchvision are named beside the package so that no dependency swaps them for another build.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if v >= (3, 11) else "error: Python 3.11 or newer is needed, $(PYTHON) is %d.%d; name another: make PYTHON=python3.11" % v[:2])'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch torchvision -e '.[dev]'
	$(BIN)/python -m pip check --quiet --disable-pip-version-check
	@touch $@

install: $(STAMP) ## create .venv with the tested set of packages

demo: $(STAMP) ## train on examples/nih_mini, evaluate, print the per-sex table (minutes)
	$(BIN)/vitad-med demo

test: $(STAMP) ## tests that are not marked slow (under 10 minutes)
	$(PYTEST) -m "not slow" $(PYTEST_ARGS)

test-all: $(STAMP) ## all tests (under 45 minutes)
	$(PYTEST) $(PYTEST_ARGS)

lint: $(STAMP) ## ruff check, ruff format --check, mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP) ## apply ruff's fixes and formatting
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

system-deps: ## list the Debian packages that set-up and slow tests use
	@echo "set-up:     git make python3 python3-venv"
	@echo "slow tests: chromium (the report's page in a browser)"
	@echo "            orthanc orthanc-dicomweb orthanc-gdcm (an archive) dcmtk dicom3tools (sending, checking DICOM)"
	@echo "            without them those tests are skipped; install with --no-install-recommends"

clean: ## remove environments, caches and build output (results under outputs/ stay)
	rm -rf .venv .venv-ci build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
