SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

# What `pip install 'strongroom[all]'` takes, and what the tests need.
EXTRAS := cli,aws,vault,gcp,azure,pkcs11,keyring,render,audit,rotation,terraform,dev,docs
BIN := .venv/bin
STAMP := .venv/.installed
BENCH_STAMP := .venv/.installed-bench
NODE := tests/servers/node
NODE_STAMP := $(NODE)/node_modules/.package-lock.json
FUZZ_STAMP := .venv/.fuzz
PEER_STAMP := .venv/.peer
SCHEMAS := .schemas/.fetched
CHECKOV := .checkov/.installed
AIRFLOW := .airflow/.installed
TOOLS := $(NODE_STAMP) $(PEER_STAMP) $(SCHEMAS)
PYTHON ?= $(shell for p in python3 python3.11 python3.12 python3.13; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Hundreds of tests start a process of their own; without compiled files each would compile the product anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help install demo drill test lint docs bench nightly clean

help:
	@echo 'make demo     the main job, end to end, in under a minute'
	@echo 'make drill    a region is lost, a replica takes over, the region comes back: on this machine'
	@echo 'make test     every test, random order, two processes'
	@echo 'make lint     ruff, mypy --strict, checkov and the documents'
	@echo 'make docs     the documents as a site, build/site/index.html'
	@echo 'make nightly  the same tests with the full counts, then ten minutes of fuzzing'
	@echo 'make bench    a table of times beside their bars, and build/bench.json'

install: $(STAMP) $(TOOLS) $(CHECKOV)

# Debian ships venv without ensurepip unless python3-venv is there; pip can then fill an empty environment itself.
$(STAMP): pyproject.toml tests/servers/install.sh tests/servers/debian.txt
	@test -n "$(PYTHON)" || { echo 'Strongroom needs Python 3.11 or newer on PATH.' >&2; exit 1; }
	tests/servers/install.sh
	test -x $(BIN)/pip || $(PYTHON) -m venv .venv >/dev/null 2>&1 || \
		{ $(PYTHON) -m venv --clear --without-pip .venv && $(PYTHON) -m pip -q --python $(BIN)/python install pip; }
	$(BIN)/python -m pip install -q -e '.[$(EXTRAS)]'
	touch $@

# AWS's Encryption SDK for JavaScript, for the interoperation tests alone; no package may run a script here.
$(NODE_STAMP): $(NODE)/package.json $(NODE)/package-lock.json | $(STAMP)
	cd $(NODE) && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	touch $@

# The release whose `refresh_secret_now` throws away what it fetched; out of the way of the one that is installed.
$(PEER_STAMP): $(STAMP)
	$(BIN)/python -m pip install -q --no-deps --upgrade --target .venv/peer aws-secretsmanager-caching==1.1.3
	touch $@

# The schemas of Terraform providers that no package registry has as programs, for `validate` and `terraform test`.
$(SCHEMAS): terraform/tests/schemas.txt | $(STAMP)
	$(BIN)/python -m terraform.tests.schemas
	touch $@

# Checkov pins what we do not: it gets an environment of its own.
$(CHECKOV): terraform/tests/checkov.txt | $(STAMP)
	test -x .checkov/bin/python || $(BIN)/python -m venv --without-pip .checkov
	$(BIN)/python -m pip --python .checkov/bin/python install -q -r $<
	touch $@

# So does Airflow, which pins over a hundred packages; Strongroom is installed beside it, as its users do.
$(AIRFLOW): tests/servers/airflow.txt pyproject.toml | $(STAMP)
	test -x .airflow/bin/python || $(BIN)/python -m venv --without-pip .airflow
	$(BIN)/python -m pip --python .airflow/bin/python install -q -r $< -e '.[aws,rotation]'
	touch $@

# The fuzzer is for the nightly run alone.
$(FUZZ_STAMP): $(STAMP)
	$(BIN)/python -m pip install -q -e '.[fuzz]'
	touch $@

demo: $(STAMP)
	@$(BIN)/python docs/examples/demo.py

drill: $(STAMP)
	@$(BIN)/python -m tests.drill

test: $(STAMP) $(TOOLS)
	$(BIN)/python -m pytest -n 2 --dist worksteal -q

lint: $(STAMP) $(CHECKOV)
	$(BIN)/ruff check .
	$(BIN)/mypy
	.checkov/bin/checkov --directory terraform --framework terraform --skip-download --compact --quiet
	$(MAKE) --no-print-directory docs

# From the repository's root: links from a page to Terraform's modules hold in the site too. No network.
docs: $(STAMP)
	$(BIN)/python -m sphinx -q -E -W --keep-going -n -j 2 -c docs -d build/doctrees . build/site
	@echo build/site/index.html

nightly: $(STAMP) $(TOOLS) $(FUZZ_STAMP) $(AIRFLOW)
	STRONGROOM_NIGHTLY=1 $(BIN)/python -m pytest -n 2 --dist worksteal -q --timeout=3600
	$(BIN)/python -m tests.fuzz -max_total_time=600 -print_final_stats=1

bench: $(BENCH_STAMP)
	$(BIN)/python -m tests.bench

# The libraries that the envelope is measured beside; nothing else needs them.
$(BENCH_STAMP): $(STAMP)
	$(BIN)/python -m pip install -q -e '.[bench]'
	touch $@

clean:
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .schemas .checkov .airflow $(NODE)/node_modules
