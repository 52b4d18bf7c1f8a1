# `make run` and `make test` do all their own set-up, once; a changed pyproject.toml repeats it.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

# On Linux PyPI's torch brings several GB of CUDA; `make run TORCH=cpu` prefers the small CPU build.
ifeq ($(TORCH),cpu)
export PIP_EXTRA_INDEX_URL := $(PIP_EXTRA_INDEX_URL) https://download.pytorch.org/whl/cpu
endif

.DEFAULT_GOAL := help
.PHONY: help run test lab lint lowest notebooks stale site

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(VENV)/ready ## run the tour without a screen: name and restore degraded photos
	@$(BIN)/python notebooks/run_tour.py

lab: $(VENV)/ready ## open the tour in JupyterLab
	@$(BIN)/python -m jupyter lab notebooks/00_tour.ipynb

test: $(VENV)/ready-dev ## run the unit tests, the notebooks at smoke scale and the browser tests
	@DACLIP_LAB_SCALE=smoke DACLIP_LAB_OUT="$(CURDIR)/runs/smoke" \
		$(BIN)/python -m pytest --nbmake --nbmake-timeout=600 tests notebooks

lint: $(VENV)/ready-dev ## ruff over code and notebooks, mypy over the package
	@$(BIN)/python -m ruff check . && $(BIN)/python -m ruff format --check . && $(BIN)/python -m mypy

lowest: ## the unit tests with the lowest versions that pyproject.toml admits, in .venv-lowest (torch stays at TORCH_LOWEST)
	@$(PYTHON) -m venv .venv-lowest
	@$(PYTHON) tests/lowest_versions.py $(TORCH_LOWEST) > .venv-lowest/constraints.txt
	.venv-lowest/bin/python -m pip install --constraint .venv-lowest/constraints.txt --editable '.[dev]'
	@DACLIP_LAB_SCALE=smoke .venv-lowest/bin/python -m pytest -m "not notebook and not browser" tests

stale: $(VENV)/ready-dev ## list the notebooks whose outcome may have changed since they were executed
	@$(BIN)/python notebooks/build.py --list-stale

notebooks: $(VENV)/ready-dev ## execute the notebooks whose source, library or weights changed
	@$(BIN)/python notebooks/build.py

site: $(VENV)/ready-dev ## render the course and the reference to pages that open from the disk: runs/site
	@$(BIN)/python site/make.py

# Set-up. `ready` is what `make run` needs; `ready-dev` adds what the tests need.

OLD = daclip_lab needs Python 3.11.4 or newer; name one, for example: make PYTHON=python3.12 $(MAKECMDGOALS)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11, 4))' || { echo "$(OLD)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(VENV)/ready: pyproject.toml | $(BIN)/python
	@echo "Setting up $(VENV); the first time this takes some minutes."
	$(BIN)/python -m pip install --editable '.[notebooks]'
	@touch $@

$(VENV)/ready-dev: pyproject.toml | $(BIN)/python
	@echo "Setting up $(VENV); the first time this takes some minutes."
	$(BIN)/python -m pip install --editable '.[dev]'
	@touch $(VENV)/ready $@
