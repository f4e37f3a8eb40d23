# `make` lists the targets. Everything happens in .venv, which is made on first use.

PYTHON ?= python3
BIN := .venv/bin
# Modules are compiled when first imported, not all at installation: 40 s less. An empty value lets Python keep them.
export PYTHONDONTWRITEBYTECODE :=
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check --no-compile -c constraints.txt
# Two workers with one thread each: more threads than cores make each other crawl.
PYTEST_PARALLEL := OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false $(BIN)/python -m pytest -n 2 --dist worksteal --durations 12 -rs

.PHONY: help demo test test-slow bench fix docs clean

help:  ## list these targets
	@sed -n 's/^\([a-z-]*\):.*##  */\1\t/p' Makefile | expand -t 12

demo: .venv/.run  ## fine-tune a real encoder on real text; shows the report's place (4 minutes, set-up included)
	rm -rf demo
	$(BIN)/weitiao train recipes/demo.yaml
	$(BIN)/weitiao predict demo "Shares rose after the bank cut interest rates"

test: .venv/.test  ## all that must pass: lint, types, layers, tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(PYTEST_PARALLEL)

test-slow: .venv/.test  ## tests that take minutes or need a real model
	$(BIN)/python -m pytest -m slow

bench: .venv/.test  ## measure against peers, hours long; BENCH="--jobs A --repeats 5" chooses (docs/benchmarks.md)
	$(BIN)/python -m benchmarks $(BENCH)

fix: .venv/.test  ## mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: .venv/.test  ## write docs/reference anew from the code
	$(BIN)/python docs/build.py

clean:  ## remove .venv, caches and the demo; your runs stay
	rm -rf .venv demo build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# What the package needs to run.
.venv/.run: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing into .venv"
	@$(PIP) pip
	@$(PIP) -e .
	@touch $@

# What its tests and checks need besides.
.venv/.test: .venv/.run
	@echo "installing the test tools into .venv"
	@$(PIP) "weitiao[all]" --group test
	@touch $@
