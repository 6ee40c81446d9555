# Everything a person does here. `make` alone lists it.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.SILENT:
.NOTPARALLEL:
.PHONY: help setup demo test check lint format types layers bridge bench docs lock clean distclean

# Flags for pytest, e.g. `make test PYTEST="-k supervise -x"`.
PYTEST ?=

packages := $(patsubst %/pyproject.toml,%,$(wildcard ramure-*/pyproject.toml))
pi := node_modules/@earendil-works/pi-coding-agent
bin := .venv/bin

export PATH := $(CURDIR)/$(bin):$(PATH)
export RAMURE_TEST_PI_22 := $(CURDIR)/.tools/pi22/node_modules
export RAMURE_TEST_PI_20 := $(CURDIR)/.tools/pi20/node_modules

help: ## list the targets
	sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 16

setup: ## install all that the others need, into .venv and .tools
	scripts/system-packages
	$(MAKE) --no-print-directory --jobs 2 --output-sync -f scripts/setup.mk

demo: setup ## run the quick start on a real pi in a real tmux
	RAMURE_PI="$(CURDIR)/.tools/pi22/$(pi)" $(bin)/ramure demo

test: setup check ## check the code, then run every test of every package
	scripts/leave-nothing $(bin)/python -m pytest --cov --cov-report=term $(PYTEST)

check: lint types layers bridge ## all that needs no running

lint: setup ## format and lint rules
	$(bin)/ruff format --check --quiet . || { $(bin)/ruff format --diff .; exit 1; }
	$(bin)/ruff check --quiet .

types: setup ## mypy --strict over every package
	$(bin)/mypy --no-error-summary $(packages:%=%/src)

layers: setup ## nothing imports upward
	$(bin)/lint-imports --no-logo >build/layers.log 2>&1 || { cat build/layers.log; exit 1; }

format: setup ## format the code and mend what can be mended
	$(bin)/ruff check --fix-only --quiet .
	$(bin)/ruff format .

bench: setup ## measure
	for bench in tests/benchmarks/bench_*.py; do $(bin)/python "$$bench"; done

docs: setup ## run and check the documentation
	scripts/leave-nothing $(bin)/python -m pytest tests/docs $(PYTEST)

lock: setup ## pin the newest versions of everything
	scripts/lock

clean: ## remove what the targets have made, but not what is installed
	rm -rf build site .coverage* .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .hypothesis
	find $(packages) tests -name __pycache__ -prune -exec rm -rf {} +

distclean: clean ## remove what is installed, too
	rm -rf .venv .tools
