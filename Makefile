# Every target sets up what it needs in .venv; `make demo` and `make test` work from a fresh clone.
PYTHON ?= python3
# The interpreter of `make gpu-check`: one whose torch was built with CUDA. It is used as it is.
GPU_PYTHON ?= $(PYTHON)
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile
DEMO := out/demo

.PHONY: demo test test-full check bench scorecard gpu-check docs catalogue tasks clean

demo: .venv/sim  ## sweep 25 minifloats, INT2..INT8 and ternary on handwritten digits
	$(BIN)/halfulp sweep digits -f 'e[1-5]m[0-4]' -f 'int[2-8]' -f ternary -f binary32 \
		--seeds 3 --lr 0.03 --lr 0.1 --lr 0.3 --store $(DEMO)/digits.sqlite
	$(BIN)/halfulp plot $(DEMO)/digits.sqlite --out $(DEMO)

test: .venv/dev  ## everything but the long sweeps
	$(PYTEST) -m "not slow"

test-full: .venv/dev  ## the long sweeps as well: all 2**32 float32 inputs
	$(PYTEST) -m "not slow"
	$(BIN)/python -m pytest -m slow --durations=0

check: .venv/dev  ## lint, types, fast tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/python -m pytest -m "not slow" tests/formats tests/test_layers.py tests/emulate/test_arguments.py

bench: .venv/bench  ## time quantization against a copy and the peers, e.g. make bench BENCH=--quick
	$(BIN)/python -m benchmarks $(BENCH)

scorecard: .venv/sim  ## every published claim, measured, with its verdict; SCORECARD=--again trains as well
	$(BIN)/halfulp scorecard --csv out/scorecard.csv --html out/scorecard.html $(SCORECARD)

gpu-check:  ## compare the kernels on this machine's GPU with the CPU, time them, write benchmarks/gpu/<machine>.md
	@mkdir -p out/gpu && ln -sfn "$(CURDIR)" out/gpu/halfulp
	PYTHONPATH="$(CURDIR)/out/gpu:$(CURDIR)" $(GPU_PYTHON) -m benchmarks.gpu

docs: .venv/docs  ## build the documentation into out/docs
	$(BIN)/sphinx-build -W --keep-going -q docs out/docs
	@echo "open out/docs/index.html"

catalogue: .venv/dev  ## write docs/catalogue.md and its pictures from the tables of formats
	$(BIN)/python docs/make_catalogue.py

tasks: .venv/dev  ## train every task with five seeds and write the table of docs/tasks.md
	$(BIN)/python docs/make_tasks.py

clean:
	rm -rf .venv out build dist *.egg-info

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/sim .venv/dev .venv/docs .venv/bench: .venv/%: .venv/bin/python pyproject.toml constraints.txt
	$(PIP) -e '.[$*]'
	@touch $@
