# What `make setup` makes. Each part is a stamp file that is newer than what it was made from.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.PHONY: all
.SECONDARY:

packages := $(patsubst %/pyproject.toml,%,$(wildcard ramure-*/pyproject.toml))

npm_projects := $(patsubst %/package.json,%,$(wildcard ramure-*/*/package.json))

# Runs no package's script: the lock's hashes say all that is installed.
npm_ci := npm_config_cache="$(CURDIR)/.tools/cache/npm" npm ci --silent --ignore-scripts --no-audit --no-fund \
  --no-progress --no-update-notifier --prefix

all: .venv/.stamp .tools/peer/.stamp .tools/pi22/.stamp .tools/pi20/.stamp $(npm_projects:%=%/node_modules/.stamp)

.tools/uv/.stamp: constraints/uv.txt
	@echo "setting up: uv"
	python=$$(scripts/find-python)
	[ -x .tools/uv/bin/python ] || "$$python" -m venv .tools/uv
	.tools/uv/bin/python -m pip install --quiet --require-hashes --no-deps --only-binary :all: --requirement $<
	touch $@

# `install`, not `sync`: what a person has added to their environment stays.
.venv/.stamp: .tools/uv/.stamp constraints/locked.txt $(packages:%=%/pyproject.toml)
	@echo "setting up: Python packages"
	python=$$(scripts/find-python)
	[ -x .venv/bin/python ] || scripts/uv venv --quiet --python "$$python" .venv
	scripts/uv pip install --quiet --python .venv --require-hashes --no-deps --requirement constraints/locked.txt
	scripts/uv pip install --quiet --python .venv --no-deps --no-build-isolation $(packages:%=--editable ./%)
	touch $@

# ramure 0.0.3, which the benchmarks run beside ours; of the same Python.
.tools/peer/.stamp: .tools/uv/.stamp constraints/peer.txt
	@echo "setting up: ramure 0.0.3"
	python=$$(scripts/find-python)
	[ -x .tools/peer/bin/python ] || scripts/uv venv --quiet --python "$$python" .tools/peer
	scripts/uv pip install --quiet --python .tools/peer --require-hashes --no-deps --requirement constraints/peer.txt
	touch $@

.tools/%/.stamp: scripts/%/package-lock.json
	@echo "setting up: $*"
	mkdir -p .tools/$*
	cp scripts/$*/package.json scripts/$*/package-lock.json .tools/$*/
	$(npm_ci) .tools/$*
	touch $@

%/node_modules/.stamp: %/package-lock.json
	@echo "setting up: $*"
	$(npm_ci) $*
	touch $@

.ONESHELL:
.SILENT:
