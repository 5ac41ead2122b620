# Every target makes .venv and installs on first use. Override the interpreter with `make PYTHON=python3.12 ...`.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: setup demo test check bench weights results ablations docs clean

setup: $(INSTALLED)  ## make .venv and install avgate with the tested set of versions

$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

demo: $(INSTALLED)  ## render, extract, train four fusions, compare them, write demo/report.html
	$(BIN)/avgate demo --out demo

test: $(INSTALLED)  ## the whole test suite
	$(BIN)/pytest -n 2 --dist loadgroup

check: $(INSTALLED)  ## formatting, lint, types, import layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(INSTALLED)  ## measure speed and memory, write docs/benchmarks.md and docs/benchmarks-store.md
	$(BIN)/python benchmarks/run.py
	$(BIN)/python benchmarks/store.py

weights: $(INSTALLED)  ## train the demonstration weights that come with avgate 
	$(BIN)/avgate render --out work/weights/clips --identities 32 --clips 3 --seed 1
	$(BIN)/avgate extract --data work/weights/clips --recipe demonstration-weights
	$(BIN)/avgate train --data work/weights/clips --recipe demonstration-weights --out work/weights/run
	cp work/weights/run/checkpoint.safetensors src/avgate/weights/demonstration.safetensors

results: $(INSTALLED)  ## compare all fusions on rendered and real people, clean and stressed, write docs/results.md; hours, resumable
	$(BIN)/python tools/results.py

ablations: $(INSTALLED)  ## make results, and what each part of the gated models is worth; resumable
	$(BIN)/python tools/results.py --ablations

docs: $(INSTALLED)  ## make docs/fusions.md, raters.md, example.md, and the README's picture anew; after make demo
	$(BIN)/python tools/fusions.py
	$(BIN)/python tools/raters.py
	$(BIN)/python tools/example.py
	$(BIN)/python tools/picture.py

clean:
	rm -rf demo work build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
