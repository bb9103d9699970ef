# make demo    install and see Bowerbird at work on scikit-learn's handwritten digits
# make test    install with the developers' tools and run the tests
# make check   format, lint, types, import layers, docs
# make docs    paste --help and the public names into docs/

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test check docs format clean

demo: $(VENV)/installed
	$(BIN)/bowerbird demo

test: $(VENV)/developing
	$(BIN)/python -m pytest -n 2 --dist worksteal

check: $(VENV)/developing
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python docs/reference.py --check

docs: $(VENV)/developing
	$(BIN)/python docs/reference.py

format: $(VENV)/developing
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(VENV)/installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/developing: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@ $(VENV)/installed

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
