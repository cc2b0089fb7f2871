# Every target sets up what it needs in .venv, from nothing but Python 3.11 or newer: no root, no
# compiler, no emulator. `make demo`, `make test`, `make lint`, `make bench`, `make clean`.
SHELL := /bin/sh
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
DATA := $(abspath ../shared/data)

# What is about one op, e.g. make test OP=resize; more arguments for pytest, e.g. PYTEST="-k plan".
OP :=
PYTEST :=
WORKERS := $(if $(OP),0,auto)

ifneq ($(wildcard $(DATA)),)
export INSITU_DATA ?= $(DATA)
endif

.PHONY: help demo test lint ruff types layers format bench clean

help:
	@echo "make demo   digits on an emulated nRF52840, from nothing to a report"
	@echo "make test   all tests (those against autograd need torch: pip install torch==2.13.0)"
	@echo "make test OP=conv   all tests that are about one op"
	@echo "make lint   ruff, mypy, import-linter, clang-format"
	@echo "make bench  Fashion-MNIST from scratch, beside PyTorch"
	@echo "make clean  removes .venv and what the tools left behind"

demo: $(VENV)/demo.stamp
	$(BIN)/insitu demo

test: $(VENV)/test.stamp
	$(BIN)/python -m pytest -n $(WORKERS) $(if $(OP),--op $(OP)) $(PYTEST)

lint: ruff types layers format

ruff: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/dev.stamp
	$(BIN)/mypy

layers: $(VENV)/dev.stamp
	$(BIN)/lint-imports --no-cache

format: $(VENV)/dev.stamp
	$(BIN)/clang-format --dry-run -Werror $$(find insitu/runtime -name '*.[ch]')

bench: $(VENV)/demo.stamp $(VENV)/torch.stamp
	$(BIN)/python bench/learning/fashion_mnist.py

clean:
	rm -rf $(VENV) .cache build dist demo-out .pytest_cache .mypy_cache .ruff_cache .hypothesis

# Python 3.11 or newer, the first on PATH that runs and can make a virtual environment.
$(VENV)/python.stamp:
	@for python in python3 python3.11 python3.12 python3.13 python3.14 python; do \
	  "$$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' \
	    2>/dev/null || continue; \
	  echo "making $(VENV) with $$("$$python" --version)"; \
	  "$$python" -m venv --clear $(VENV) && touch $@ && exit 0; \
	done; \
	echo "no Python 3.11 or newer with venv on PATH; install one (Debian: python3-venv)" >&2; exit 1

# One environment; a stamp says that it holds an extra, for the pyproject.toml of now. The extras
# contain each other: demo < test < dev.
$(VENV)/demo.stamp: SIZE := 222 MB, of which the compiler (ziglang) 101 MB
$(VENV)/test.stamp: SIZE := 252 MB, of which the compiler (ziglang) 101 MB
$(VENV)/test.stamp: WITHIN := demo
$(VENV)/dev.stamp: SIZE := 284 MB, of which the compiler (ziglang) 101 MB
$(VENV)/dev.stamp: WITHIN := demo test
$(VENV)/torch.stamp: SIZE := 3 GB, on most machines PyTorch with CUDA
$(VENV)/%.stamp: pyproject.toml requirements.lock | $(VENV)/python.stamp
	@echo "installing insitu[$*] into $(VENV); downloads at most $(SIZE)"
	$(PIP) install -c requirements.lock -e '.[$*]'
	@touch $@ $(WITHIN:%=$(VENV)/%.stamp)
