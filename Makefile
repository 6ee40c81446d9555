# Everything a person does here. `make` alone lists it.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.SILENT:
.NOTPARALLEL:
.PHONY: help setup parts demo test check lint format types layers bridge bench docs site pictures lock clean distclean

# Flags for pytest, e.g. `make test PYTEST="-k supervise -x"`, and how many tests run at a time:
# more than there are processors, since most wait for programs that they have started.
PYTEST ?=
JOBS ?= 4
# A little below what all tests reach together.
FLOOR := 93

packages := $(patsubst %/pyproject.toml,%,$(wildcard ramure-*/pyproject.toml))
plugins := $(patsubst %/pyproject.toml,%,$(wildcard examples/plugins/*/pyproject.toml))
npm_projects := $(patsubst %/package.json,%,$(wildcard ramure-*/*/package.json))
bin := .venv/bin
pi := node_modules/@earendil-works/pi-coding-agent
pi_22 := $(CURDIR)/.tools/pi22/$(pi)
pi_20 := $(CURDIR)/.tools/pi20/$(pi)
pytest := $(bin)/python scripts/leave_nothing.py $(bin)/python -m pytest --basetemp {tmp}/pytest
node_22 := $(CURDIR)/.tools/pi22/node_modules/.bin

export PATH := $(CURDIR)/$(bin):$(PATH)
# The tests start thousands of Pythons: what one has compiled serves the others.
unexport PYTHONDONTWRITEBYTECODE
# What the tests run pi from; where it is missing, they fail in CI and say what to do elsewhere.
export RAMURE_TEST_PI_22 := $(pi_22)
export RAMURE_TEST_PI_20 := $(pi_20)

help: ## list the targets
	sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 16

setup: ## install all that the others need, into .venv and .tools
	scripts/system-packages
	$(MAKE) --no-print-directory --jobs 2 --output-sync -f scripts/setup.mk

parts:
	scripts/system-packages tests

demo: setup ## run the quick start on a real pi in a real tmux
	RAMURE_PI="$(pi_22)" $(bin)/ramure demo

test: parts setup check ## check the code, then run every test of every package
	code=0
	$(pytest) --numprocesses $(JOBS) --dist worksteal --cov --cov-report=term \
	  $(or $(PYTEST),--cov-fail-under=$(FLOOR)) || code=$$?
	[ $$code = 1 ] $(if $(PYTEST),&& false) || exit $$code # 1: tests have failed
	echo "What failed is run once more, alone. What passes now cannot bear a busy computer: mend it."
	$(pytest) --last-failed --last-failed-no-failures none --cov --cov-append --cov-report=term \
	  --cov-fail-under=$(FLOOR)

check: lint types layers bridge site ## all checks but the Python tests

lint: setup ## format and lint rules
	scripts/quietly format $(bin)/ruff format --diff .
	scripts/quietly lint $(bin)/ruff check .

types: setup ## mypy --strict over every package and the examples
	scripts/quietly types $(bin)/mypy $(packages:%=%/src) examples/*.py
	for plugin in $(plugins); do # each as its author would: beside core, not as part of it
	  MYPYPATH="$$plugin/src" scripts/quietly "types of $${plugin##*/}" $(bin)/mypy "$$plugin/src"
	done

layers: setup ## nothing imports upward
	scripts/quietly layers $(bin)/lint-imports --no-logo --no-cache

bridge: setup ## types and tests of what runs in Node.js, on both versions of it
	export NODE_DISABLE_COMPILE_CACHE=1 JITI_FS_CACHE=false # they would stay in the temporary folder
	jobs=() code=0
	for project in $(npm_projects); do # at once: its tests wait, most of the time
	  scripts/quietly "$$project: types" npm --prefix "$$project" run --if-present types & jobs+=($$!)
	  scripts/quietly "$$project: tests" npm --prefix "$$project" test & jobs+=($$!)
	  PATH="$(node_22):$$PATH" scripts/quietly "$$project: tests, Node.js 22" \
	    npm --prefix "$$project" test & jobs+=($$!)
	done
	for job in "$${jobs[@]}"; do wait "$$job" || code=$$?; done
	exit $$code

format: setup ## format the code and mend what can be mended
	$(bin)/ruff check --fix-only --quiet .
	$(bin)/ruff format .

bench: setup ## measure
	for bench in tests/benchmarks/bench_*.py; do $(bin)/python "$$bench"; done

docs: setup site ## build the documentation, and run all that it shows
	$(pytest) tests/docs $(PYTEST)

site: setup ## build the documentation into site/, strictly
	scripts/quietly site env NO_MKDOCS_2_WARNING=1 $(bin)/mkdocs build --quiet

pictures: setup ## take the pictures of terminals in the documentation anew
	$(bin)/python scripts/leave_nothing.py $(bin)/python scripts/pictures.py

lock: setup ## pin the newest versions of everything
	scripts/lock

clean: ## remove what the targets have made, but not what is installed
	rm -rf build site .coverage* .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .hypothesis
	find $(packages) tests examples -name __pycache__ -prune -exec rm -rf {} +

distclean: clean ## remove what is installed, too
	rm -rf .venv .tools
