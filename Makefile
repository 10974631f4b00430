# Each target makes its own set-up: Python 3.11 or newer and make are all that is needed.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: all demo test lint docs bench clean
all: lint test

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $(READY)

demo: $(READY)  ## the whole way on 600 handwritten digits
	$(BIN)/scalepred demo demo

test: $(READY)  ## all tests, the slow ones too
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "" -n 2 --dist loadfile --no-loadscope-reorder  # one thread for each of the two

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

docs: $(READY)  ## build/docs/index.html
	$(BIN)/mkdocs build --strict --quiet

bench: $(READY)
	$(BIN)/python -m benchmarks.bench_help
	$(BIN)/python -m benchmarks.bench_store
	$(BIN)/python -m benchmarks.bench_resume
	$(BIN)/python -m benchmarks.bench_worker
	$(BIN)/python -m benchmarks.bench_harvest --smoke

clean:
	rm -rf $(VENV) demo build dist
