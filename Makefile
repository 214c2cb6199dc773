# The project's commands. `make help` lists them.

PYTHON ?= python3
BIN := .venv/bin
SETUP := .venv/.set-up

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint format benchmarks clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(SETUP) ## Make .venv with recblr and all it needs (editable)

# --without-pip and `pip --python`: works where the system's Python lacks ensurepip.
$(SETUP): pyproject.toml constraints.txt CMakeLists.txt plugins/CMakeLists.txt $(wildcard plugins/src/* plugins/include/recblr/*)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv --without-pip .venv
	$(PYTHON) -m pip --python .venv/bin/python install --quiet --disable-pip-version-check pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[train,export,serve,dev]'
	@touch $@

demo: $(SETUP) ## Train, evaluate, export and serve on MovieLens-100k, and ask for recommendations
	@$(BIN)/python examples/movielens_demo.py

test: $(SETUP) ## Run all tests
	$(BIN)/python -m pytest

lint: $(SETUP) ## Check style (ruff) and types (mypy)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python tools/typecheck.py

format: $(SETUP) ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

benchmarks: $(SETUP) ## Measure everything again (writes benchmarks/results/)
	$(BIN)/python benchmarks/data.py
	$(BIN)/python benchmarks/training.py
	$(BIN)/python benchmarks/serving.py
	$(BIN)/python benchmarks/users.py

clean: ## Remove what the targets made
	rm -rf .venv .demo build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
