# `make quickstart` and `make test` set up their own virtual environment in .venv (PyPI only).
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN = $(VENV)/bin
RUN_DIR ?= runs/quickstart
LANGUAGE ?= en

.PHONY: quickstart test setup clean

quickstart: $(VENV)/.installed
	$(BIN)/python -m gsid_jax.pipeline --gin_file=gin_configs/runs/quickstart.gin \
	  --gin.RUN_DIR="'$(RUN_DIR)'" --gin.LANGUAGE="'$(LANGUAGE)'" $(ARGS)

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest -q -n 2 --dist loadfile tests $(ARGS)

setup: $(VENV)/.installed

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/.installed: setup.py | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[eval]'
	touch $@

$(VENV)/.installed-test: setup.py $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@

clean:
	rm -rf $(VENV) *.egg-info
