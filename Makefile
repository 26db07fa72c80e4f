.PHONY: help run test lint format charts manifests openapi schema dashboards chaos fuzz monitoring bench restore-drill browser mutations e2e images package clean
.DEFAULT_GOAL := help

# The newest of the Pythons that are new enough, unless PYTHON says which one.
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)

# What is installed in .venv is known by the checksum of the lock it was installed from.
checksum = $(firstword $(shell cksum <requirements/$(1).txt))
LAPTOP := .venv/laptop-$(call checksum,laptop)
DEV := .venv/dev-$(call checksum,dev)
BIN := .venv/bin
SOURCES := apps ci k8s tests
# Where the code is: the services', and the client's, which others install.
MODULES := PYTHONPATH=apps:apps/client

help: ## This list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(LAPTOP) ## Both services on this machine: an order is placed and paid, then they run until Ctrl-C
	@$(MODULES) exec $(BIN)/python -m ci.laptop --with-parent

test: lint ## Everything that needs no cluster, lint included
	$(BIN)/pytest

lint: $(DEV) ## Style, types, and which module may import which
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy
	$(MODULES) $(BIN)/lint-imports --no-cache

format: $(DEV) ## Let ruff fix and format the sources
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

charts: $(DEV) ## The charts' schemas and READMEs, from schema.yaml and values.yaml
	$(BIN)/python -m ci.charts

manifests: $(DEV) ## k8s: the kustomize base and overlays, from the charts
	$(BIN)/python -m ci.manifests

openapi: $(DEV) ## docs/openapi: both services' OpenAPI documents, written anew
	PYTHONPATH=apps $(BIN)/python -m ci.openapi

schema: $(DEV) ## docs/schema: both databases as SQL with comments, from the migrations
	PYTHONPATH=apps $(BIN)/python -m ci.generate.schema

dashboards: $(DEV) ## The charts' dashboards and alerts, from ci/dashboards.py and ci/alerts.py
	$(BIN)/python -m ci.dashboards

chaos: $(DEV) ## Real processes, callers and faults for SECONDS=60 from one SEED, then the 13 invariants
	$(MODULES) $(BIN)/python -m tests.chaos $(if $(SEED),--seed $(SEED)) $(if $(SECONDS),--seconds $(SECONDS))

fuzz: $(DEV) ## EXAMPLES=2000 requests a service, from one SEED, drawn from the OpenAPI documents: all as described?
	$(MODULES) $(BIN)/python -m tests.fuzz $(if $(SEED),--seed $(SEED)) $(if $(EXAMPLES),--examples $(EXAMPLES))

restore-drill: $(DEV) ## Lose the databases under load, restore them from a base backup and WAL: the 13 invariants
	$(MODULES) $(BIN)/python -m tests.chaos.restore $(if $(SEED),--seed $(SEED)) $(if $(SECONDS),--seconds $(SECONDS))

monitoring: $(DEV) ## Dashboards and alerts on a real Prometheus (which is to be on PATH) while faults are caused
	$(MODULES) $(BIN)/python -m tests.monitoring

browser: $(DEV) ## The pages in a real Chromium (TANDEM_CHROMIUM names one); its pictures go to .artifacts
	$(BIN)/pytest -n 0 -s tests/browser

bench: $(DEV) ## How fast it is, as ratios to floors of the same run; GROWTH=1000000 orders, PROFILE=1 shows where it goes
	$(MODULES) $(BIN)/python -m ci.bench $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(GROWTH),--growth $(GROWTH)) $(if $(PROFILE),--profile)

mutations: $(DEV) ## Break the product in a dozen ways: tests or chaos must notice each
	$(MODULES) $(BIN)/python -m tests.chaos.mutations --markdown

e2e: $(DEV) ## The charts on the cluster that KUBECONFIG names, from install to uninstall
	PATH="$(CURDIR)/$(BIN):$$PATH" ci/e2e

images: ## The two container images
	ci/images

package: $(DEV) ## dist: the charts, SBOMs of the images, checksums
	ci/package

clean: ## Forget what `make run` keeps: databases, keys and logs
	@$(or $(PYTHON),python3) -m ci.state --remove

# --only-binary: a package that would have to be compiled is an error, not a hunt for compilers.
INSTALL = $(BIN)/python -m pip install --disable-pip-version-check --require-hashes --only-binary :all:

$(LAPTOP): .venv/bin/python
	@echo "Installing what Tandem runs on into .venv (once)"
	$(INSTALL) -r requirements/laptop.txt
	@rm -f .venv/laptop-* && touch $@

$(DEV): .venv/bin/python
	@echo "Installing what Tandem is developed with into .venv (once)"
	$(INSTALL) -r requirements/dev.txt
	@rm -f .venv/dev-* .venv/laptop-* && touch $@ $(LAPTOP)

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "Tandem needs Python 3.11 or newer: make PYTHON=/path/to/python3" >&2; exit 1; }
	rm -rf .venv && $(PYTHON) -m venv .venv
