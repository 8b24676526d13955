# Two commands do all set-up: `make demo` and `make test` install into .venv first when it is not there.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: setup demo test test-slow lint app bench clean

setup: $(STAMP)

# torch comes first, and pinned: what follows then finds it and brings no second one.
$(STAMP): pyproject.toml CMakeLists.txt constraints.txt $(shell find cuda_ext/csrc -type f)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev,video]"
	touch $(STAMP)

demo: setup
	$(BIN)/fieldscape demo --out demo --force

test: setup
	$(BIN)/python -m pytest -m "not slow and not cuda"

test-slow: setup
	$(BIN)/python -m pytest -m slow

lint: setup
	$(BIN)/ruff check .
	$(BIN)/mypy

app: setup
	$(BIN)/fieldscape app

bench: setup
	$(BIN)/fieldscape bench kernels

clean:
	rm -rf $(VENV) build demo
