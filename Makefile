# make train: set up and train the quick start.   make test: set up and run the tests.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
ARGS   ?=

.PHONY: help train test lint types benchmarks docs clean setup
.DEFAULT_GOAL := help

help:  ## this list
	@grep -E '^[a-z]+: .*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 14

train: $(READY)  ## set up, then train; ARGS="--max_steps 20 ..." are passed on
	$(BIN)/python -m srl_agent.train $(ARGS)

test: $(READY)  ## set up, then run the tests; ARGS="-k reward" are passed on
	$(BIN)/python -m pytest $(ARGS)

lint: $(READY)  ## style, format and the floors of the house
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo

types: $(READY)  ## static types
	$(BIN)/mypy --strict srl_envs srl_agent

benchmarks: $(READY)  ## the first three tables of docs/performance.md
	for script in reward env trajectories; do $(BIN)/python benchmarks/$$script.py || exit 1; done

docs: $(READY)  ## build the documentation into site/; a warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

setup: $(READY)  ## the virtual environment alone

clean:  ## remove the virtual environment and caches; runs stay
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis build *.egg-info

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	  || { echo "error: $(PYTHON) is not Python >= 3.11, which TRL needs. Name one: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "error: $(PYTHON) has no venv. On Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[train,collect,view,swebench,ray,dev,docs]'
	@touch $@
