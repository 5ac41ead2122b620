# Every target makes .venv and installs on first use. Override the interpreter with `make PYTHON=python3.12 ...`.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# A second environment with today's newest releases, and the tests that depend on them: decoding, faces, deep backbones,
# training and prediction on real clips, export.
LATEST := .venv-latest
LATEST_TESTS := $(wildcard tests/unit/test_media*.py) tests/unit/test_faces.py tests/unit/test_mesh.py \
  tests/unit/test_deep_backbones.py tests/contract/test_backbones_contract.py tests/golden/test_demonstration.py \
  tests/contract/test_models_contract.py::test_an_exported_model_gives_the_same_numbers \
  tests/e2e/test_quiet_terminal.py tests/e2e/test_real_clips.py tests/e2e/test_streamer.py tests/unit/test_live_faces.py
# An environment with avgate and what it needs and nothing else, and one with the tools that look into it.
RUNTIME := .venv-runtime
AUDIT := .venv-audit
# Two processes take the tests file by file, so that what a file prepares is made once; folders with long files come first.
SPREAD := -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: setup demo serve wheel test test-slow test-all test-latest coverage fuzz cases check sbom audit bench weights real-people results ablations complementarity docs parity clean

setup: $(INSTALLED)  ## make .venv and install avgate with the tested set of versions

$(INSTALLED): pyproject.toml constraints.txt
	$(call install,$(VENV),constraints.txt)

$(LATEST)/.installed: pyproject.toml constraints-latest.txt
	$(call install,$(LATEST),constraints-latest.txt)

$(RUNTIME)/.installed: pyproject.toml constraints.txt
	test -x $(RUNTIME)/bin/python || $(PYTHON) -m venv --without-pip $(RUNTIME)
	$(BIN)/pip --python $(RUNTIME)/bin/python install --quiet --disable-pip-version-check --no-compile -c constraints.txt torch
	$(BIN)/pip --python $(RUNTIME)/bin/python install --quiet --disable-pip-version-check --no-compile -c constraints.txt .
	touch $(RUNTIME)/.installed

$(AUDIT)/.installed:
	test -x $(AUDIT)/bin/python || $(PYTHON) -m venv $(AUDIT)
	$(AUDIT)/bin/pip install --quiet --disable-pip-version-check "cyclonedx-bom>=7,<8" "pip-audit>=2.9,<3"
	touch $(AUDIT)/.installed

# Arguments: the environment, the list of versions. The pip that comes with Python takes twice as long. torch goes first,
# so that no other build of it is chosen. Only what is imported is compiled, once, and not by several processes at the same
# time; also where the environment says not to write it.
define install
test -x $(1)/bin/python || $(PYTHON) -m venv $(1)
$(1)/bin/pip install --quiet --disable-pip-version-check --no-compile -c $(2) --upgrade pip
$(1)/bin/pip install --quiet --disable-pip-version-check --no-compile -c $(2) torch
$(1)/bin/pip install --quiet --disable-pip-version-check --no-compile -c $(2) -e ".[dev]"
env -u PYTHONDONTWRITEBYTECODE $(1)/bin/python -c "import avgate.apps.predict.many, avgate.compare.comparison, hypothesis, onnxscript, pandas, transformers"
touch $(1)/.installed
endef

demo: $(INSTALLED)  ## render, extract, train four fusions, compare them, write demo/report.html
	$(BIN)/avgate demo --out demo

serve: $(INSTALLED)  ## start the server and its page on this machine
	$(BIN)/avgate serve

wheel: $(INSTALLED)  ## build the wheel and the source archive of the last commit into dist, with the same bytes each time
	$(BIN)/python -m tools.wheel

test: $(INSTALLED)  ## every promise once, in two minutes on two cores
	$(BIN)/pytest $(SPREAD) -m "not slow"

test-slow: $(INSTALLED)  ## the tests that make test leaves out and .ci/run has time for: further variants, servers
	$(BIN)/pytest $(SPREAD) -m "slow and not long"

test-all: $(INSTALLED)  ## all tests
	$(BIN)/pytest $(SPREAD)

test-latest: $(LATEST)/.installed  ## the tests that depend on libraries, with today's newest releases of them
	$(LATEST)/bin/pytest $(SPREAD) -m "not long" $(LATEST_TESTS)

# What a process wrote that a test killed in the midst of it is no data: combine says so, and leaves it out.
coverage: $(INSTALLED)  ## make test and make test-slow with every line and branch counted, also in the processes that they start; fails under 95 %
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest $(SPREAD) -m "not long"
	-$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

# Of each fault, the input stays in work/fuzz. SEED says which inputs; another one makes others.
N := 3000
SEED := 0
fuzz: $(INSTALLED)  ## give avgate 3,000 damaged inputs: each must end in a result or one clear error; minutes
	$(BIN)/python -m tests.fuzz.run --inputs $(N) --seed $(SEED)

cases: $(INSTALLED)  ## look at the files in ../shared/cases that users had trouble with, and print what avgate makes of each
	$(BIN)/python -m tests.cases.table ../shared/cases

check: $(INSTALLED)  ## formatting, lint, types, import layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

sbom: $(INSTALLED) $(RUNTIME)/.installed $(AUDIT)/.installed  ## list what avgate needs in sbom.cdx.json (CycloneDX), and all licences in docs/licences.md; fails at one that doesn't go with MIT
	$(AUDIT)/bin/cyclonedx-py environment $(RUNTIME)/bin/python --pyproject pyproject.toml --output-reproducible --output-format JSON --output-file sbom.cdx.json
	$(BIN)/python tools/licences.py

audit: $(INSTALLED) $(RUNTIME)/.installed $(AUDIT)/.installed  ## ask for known vulnerabilities of what avgate needs; says so where the database can't be reached
	$(BIN)/python tools/audit.py --pip-audit $(AUDIT)/bin/pip-audit --packages $(RUNTIME)/lib/python3*/site-packages

bench: $(INSTALLED)  ## measure speed and memory, write docs/benchmarks.md, and the pages of store, length, training, live use, server and Ray beside it
	$(BIN)/python benchmarks/run.py
	$(BIN)/python benchmarks/store.py
	$(BIN)/python benchmarks/length.py
	$(BIN)/python benchmarks/training.py
	$(BIN)/python benchmarks/live.py
	$(BIN)/python benchmarks/serve.py
	$(BIN)/python benchmarks/scale.py
	$(BIN)/python tools/scale.py

weights: $(INSTALLED)  ## train the weights that come with avgate, those for live use too; needs the recordings of people in ../shared/data
	$(BIN)/avgate render --out work/weights/clips --identities 32 --clips 3 --seed 1
	$(BIN)/python -m tools.people --out work/weights/people --rendered work/weights/clips
	$(BIN)/avgate extract --corpus manifest --data work/weights/people/all.csv --recipe people --store work/weights/features
	$(BIN)/avgate train --corpus manifest --data work/weights/people/manifest.csv --recipe people --store work/weights/features --out work/weights/run
	$(BIN)/python -m tools.ship work/weights/run/checkpoint.safetensors
	$(BIN)/avgate extract --corpus manifest --data work/weights/people/manifest.csv --recipe people-live --store work/weights/features
	$(BIN)/avgate train --corpus manifest --data work/weights/people/manifest.csv --recipe people-live --store work/weights/features --out work/weights/run-live
	$(BIN)/python -m tools.ship work/weights/run-live/checkpoint.safetensors
	$(BIN)/python -m tools.model_card

# What the blendshapes are compared with: without face_landmarker.task, the page leaves those rows out.
real-people: $(INSTALLED)  ## after make weights: measure the default ones on real people, write docs/real-people.md and docs/model-card.md; hours
	$(BIN)/avgate extract --corpus manifest --data work/weights/people/originals.csv --recipe demo --store work/weights/features
	-$(BIN)/avgate extract --corpus manifest --data work/weights/people/originals.csv --recipe people --set 'backbones=("egemaps?level=false", "blendshapes")' --store work/weights/features
	$(BIN)/python -m tools.real_people --data work/weights/people --store work/weights/features --out work/weights/folds --into src/avgate/models/weights/default.safetensors
	$(BIN)/python -m tools.model_card

results: $(INSTALLED)  ## compare all fusions on rendered and real people, clean and stressed, write docs/results.md; hours, resumable
	$(BIN)/python tools/results.py

ablations: $(INSTALLED)  ## make results, and what each part of the gated models is worth; resumable
	$(BIN)/python tools/results.py --ablations

complementarity: $(INSTALLED)  ## write docs/complementarity.md from CREMA-D's votes
	$(BIN)/python tools/complementarity.py

docs: $(INSTALLED) complementarity  ## make docs/complementarity.md, fusions.md, raters.md, example.md, the summary of results.md, the table of settings in serve.md, and the pictures anew; after make demo
	$(BIN)/python tools/fusions.py
	$(BIN)/python tools/raters.py
	$(BIN)/python tools/example.py
	$(BIN)/python tools/summary.py
	$(BIN)/python tools/serve_settings.py
	$(BIN)/python tools/picture.py
	$(BIN)/python tools/serve_picture.py

parity: $(INSTALLED)  ## compare avgate with the definitions that it stands on, write docs/parity.md
	$(BIN)/python -m tools.parity

clean:
	rm -rf demo work build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
