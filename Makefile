# Everything a newcomer needs, from a fresh clone with only Python 3.11 or later: `make demo`, `make test`.

PYTHON ?= python3
VENV ?= .venv
BIN := $(abspath $(VENV))/bin

.PHONY: help demo test test-all check lint types imports format docs clean

help:
	@echo "make demo      build and search a generated data set; shows recall, page reads, memory"
	@echo "make test      the tests, without the slow ones"
	@echo "make test-all  all tests"
	@echo "make check     style, types, import contract"
	@echo "make format    put the code into shape"
	@echo "make docs      write docs/cli.md anew"
	@echo "make clean     remove what these commands made"

demo: $(VENV)/installed
	$(BIN)/python examples/quickstart.py

test: $(VENV)/installed-dev
	$(BIN)/python -m pytest -m "not slow"

test-all: $(VENV)/installed-dev
	$(BIN)/python -m pytest

check: lint types imports

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# The folders mapped into the package are seen by type checkers and by the import contract only where
# they lie as an installation lays them out.
types: $(VENV)/copy
	cd $(VENV)/copy && MYPYPATH=. $(BIN)/mypy --config-file pyproject.toml --package pageann

imports: $(VENV)/copy
	cd $(VENV)/copy && PYTHONPATH=. $(BIN)/lint-imports --no-cache

format: $(VENV)/installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/installed-dev
	$(BIN)/python -m pageann.cli.reference > docs/cli.md

clean:
	rm -rf $(VENV) build demo-data *.egg-info

$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/installed-dev: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	@touch $@

# Always made anew: a copy of yesterday's code proves nothing.
.PHONY: $(VENV)/copy
$(VENV)/copy: $(VENV)/installed-dev
	rm -rf $@ build
	$(BIN)/python -m pip install --quiet --no-deps --target $@ .
	cp pyproject.toml $@
	rm -rf build
