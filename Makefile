# Words for people: setup demo test test-long fuzz check smoke bench bench-check. Each makes .venv when it
# is missing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
FUZZ_SECONDS ?= 600

.PHONY: setup demo test test-long fuzz check smoke bench bench-check

setup: $(READY)  ## make the virtual environment

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: $(READY)  ## answer the sample question
	$(BIN)/citespan ask "How many defectors went public?" --sample

test: $(READY)  ## run the whole suite
	$(BIN)/pytest

test-long: $(READY)  ## run what takes minutes: many kills, many documents, huge files
	$(BIN)/pytest -m long -s

fuzz: $(READY)  ## look for bytes that a reader of files cannot bear, for FUZZ_SECONDS
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,fuzz]'
	$(BIN)/python tests/fuzz.py --seconds $(FUZZ_SECONDS)

check: $(READY)  ## lint and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

smoke: $(READY)  ## build the wheel, install it alone elsewhere, ask the sample question
	$(PYTHON) tests/smoke.py

bench: $(READY)  ## measure speed, beside the alternatives, and put it in the README (half an hour)
	$(BIN)/citespan bench --peers --out bench.json --readme README.md --picture tests/picture/growth.svg

bench-check: $(READY)  ## a quick measure; fails where a ratio fell by a quarter since bench.json
	$(BIN)/citespan bench --quick --peers --check bench.json
