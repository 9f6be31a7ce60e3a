# Two commands do what most need on a fresh machine: `make demo` and `make test`.
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
unexport PYTHONDONTWRITEBYTECODE

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv
PACKAGES := plugins/medfuse-timm plugins/medfuse-torchvision plugins/medfuse-monai plugins/medfuse-mini \
  plugins/medfuse-xrv
MANIFESTS := pyproject.toml $(PACKAGES:%=%/pyproject.toml) constraints.txt Makefile
DEMO_OUT ?= demo
# Two files of tests at a time, each on one thread of torch: twice as quick on two cores, where
# threads that wait for each other cost more than they give.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

.PHONY: help install demo test test-fast test-long test-slow check bench wheels clean

help:                          ## what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 16

install: $(VENV)/.installed    ## the development environment in .venv

$(VENV)/.uv:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv
	touch $@

$(VENV)/.installed: $(VENV)/.uv $(MANIFESTS)
	VIRTUAL_ENV=$(VENV) $(UV) pip install --quiet --compile-bytecode --constraint constraints.txt \
	  -e '.[dev]' $(PACKAGES:%=-e %)
	touch $@

demo: install                  ## train a fused classifier on generated images, write its bundle
	$(BIN)/medfuse demo --out $(DEMO_OUT)
	@command -v medfuse > /dev/null || echo "the command medfuse is found after: . $(BIN)/activate"

check: install                 ## style, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -q tests/test_docs.py -m 'not slow'

test-fast: install             ## the quick part of the suite
	$(PYTEST) -m 'not slow'

test: install                  ## the suite, but for what takes long
	$(PYTEST) -m 'not long'

test-long: install             ## what takes long
	$(PYTEST) -m long

test-slow: install             ## what takes long, and suites in environments of their own
	bash .ci/slow

bench: install                 ## speed beside others' and the machine's limits, as ratios
	bash benchmarks/environments
	for one in plain_loop keras_loop autogluon_loop gandlf_loop engines extraction growth startup bank bank_open; do \
	  echo "== $$one"; $(BIN)/python benchmarks/$$one.py || exit 1; done

wheels: install                ## wheels of medfuse and its plugins, in dist/
	for package in . $(PACKAGES); do $(UV) build --quiet --wheel --out-dir dist $$package || exit 1; done

clean:                         ## all that was built here
	rm -rf $(VENV) .venvs dist build demo
