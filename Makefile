# The project's commands. `make help` lists them.

PYTHON ?= python3
BIN := .venv/bin
SETUP := .venv/.set-up

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-native lint format benchmarks clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(SETUP) ## Make .venv with recblr and all it needs (editable)

# --without-pip and `pip --python`: works where the system's Python lacks ensurepip.
$(SETUP): pyproject.toml constraints.txt CMakeLists.txt plugins/CMakeLists.txt $(wildcard cmake/* plugins/cmake/* plugins/include/recblr/* plugins/src/* plugins/src/*/*)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv --without-pip .venv
	$(PYTHON) -m pip --python .venv/bin/python install --quiet --disable-pip-version-check pip
	$(BIN)/python tools/get_onnxruntime_headers.py build/onnxruntime
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[train,export,serve,tensorrt-rtx,dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps tensorrt-stubs
	@touch $@

demo: $(SETUP) ## Train, evaluate, export and serve on MovieLens-100k, and ask for recommendations
	@$(BIN)/python examples/movielens_demo.py

test: $(SETUP) ## Run all tests
	$(BIN)/python -m pytest

test-native: ## Run the native library's C++ tests, CUDA kernels on an emulator included, under ASan and UBSan
	cmake -S . -B build/test-native -DRECBLR_BUILD_TESTS=ON -DRECBLR_SANITIZE=ON -DRECBLR_CUDA=EMULATED
	cmake --build build/test-native --parallel 2
	for isa in baseline avx2 avx512; do for tested in cpu top_items; do echo "$$tested, $$isa:"; RECBLR_CPU_ISA=$$isa build/test-native/plugins/tests/recblr_$${tested}_test || exit 1; done; done
	ASAN_OPTIONS=detect_stack_use_after_return=0 build/test-native/plugins/cuda_check 300

lint: $(SETUP) ## Check style (ruff) and types (mypy)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python tools/typecheck.py
	git ls-files '*.h' '*.cpp' '*.cu' | xargs $(BIN)/clang-format --dry-run -Werror

format: $(SETUP) ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	git ls-files '*.h' '*.cpp' '*.cu' | xargs $(BIN)/clang-format -i

benchmarks: $(SETUP) ## Measure everything again (writes benchmarks/results/)
	$(BIN)/python benchmarks/data.py
	$(BIN)/python benchmarks/training.py
	$(BIN)/python benchmarks/long_user.py
	$(BIN)/python benchmarks/serving.py
	$(BIN)/python benchmarks/kernels.py
	$(BIN)/python benchmarks/users.py
	$(BIN)/python benchmarks/export.py
	$(BIN)/python benchmarks/large_export.py
	$(BIN)/python benchmarks/catalogue.py
	$(BIN)/python benchmarks/batching.py
	$(BIN)/python benchmarks/quality/history_length.py
	$(BIN)/python benchmarks/quality/scan_variants.py
	$(BIN)/python benchmarks/quality/large_catalogue.py
	$(BIN)/python benchmarks/performance_table.py

clean: ## Remove what the targets made
	rm -rf .venv .demo build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
