.PHONY: help run tour test kafka lint format charts manifests openapi asyncapi schema dashboards chaos simulate fuzz generators card-rates monitoring plots bench restore-drill failover-drill browser mutations audit citus e2e gitops images package site clean
.DEFAULT_GOAL := help

# The first of these Pythons that is new enough, unless PYTHON names one.
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)

# A file in .venv, named by the lock's checksum, marks what is installed.
checksum = $(firstword $(shell cksum <requirements/$(1).txt))
LAPTOP := .venv/laptop-$(call checksum,laptop)
DEV := .venv/dev-$(call checksum,dev)
FAILOVER := .cache/failover/installed-$(call checksum,failover)
BIN := .venv/bin
SOURCES := apps ci k8s tests
# Where the code of the services and of the client is.
MODULES := PYTHONPATH=apps:apps/client

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(LAPTOP) ## Run both services on this machine until Ctrl-C; place a first order; EVENTS=nats starts a broker too
	@$(MODULES) exec $(BIN)/python -m ci.laptop --with-parent

tour: $(LAPTOP) ## Break a running Tandem in five ways; show what was seen and which row saved it
	@$(MODULES) exec $(BIN)/python -m ci.laptop.tour

test: lint ## Run lint and all tests that need no cluster
	$(BIN)/pytest

kafka: $(DEV) ## Fetch Apache Kafka into .cache with Maven, for the tests of the publisher that need it (and Java 17)
	@$(BIN)/python -m tests.support.kafka_jars

lint: $(DEV) ## Check style, types and imports between modules
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy
	$(MODULES) $(BIN)/lint-imports --no-cache

format: $(DEV) ## Fix and format the sources with ruff
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

charts: $(DEV) ## Generate the charts' schemas and READMEs from schema.yaml and values.yaml
	$(BIN)/python -m ci.generate.charts

manifests: $(DEV) ## Generate k8s/, the kustomize base and overlays, from the charts
	$(BIN)/python -m ci.generate.manifests

openapi: $(DEV) ## Generate docs/openapi, both services' OpenAPI documents, and the TypeScript client from them
	PYTHONPATH=apps $(BIN)/python -m ci.generate.openapi
	PYTHONPATH=apps $(BIN)/python -m ci.generate.client_ts

asyncapi: $(DEV) ## Generate docs/asyncapi, the document of the events that a broker gets
	PYTHONPATH=apps $(BIN)/python -m ci.generate.asyncapi

schema: $(DEV) ## Generate docs/schema, both databases as SQL with comments
	PYTHONPATH=apps $(BIN)/python -m ci.generate.schema

dashboards: $(DEV) ## Generate the charts' dashboards and alerts from ci/generate
	$(BIN)/python -m ci.generate.dashboards

chaos: $(DEV) ## Run callers and random faults for SECONDS=60, from SEED; then check the invariants
	$(MODULES) $(BIN)/python -m tests.chaos $(if $(SEED),--seed $(SEED)) $(if $(SECONDS),--seconds $(SECONDS))

simulate: $(DEV) ## Run both services in memory through SCHEDULES=20000 schedules from SEED; SCHEDULE=n repeats one
	$(MODULES) $(BIN)/python -m tests.simulation $(if $(SEED),--seed $(SEED)) $(if $(SCHEDULES),--schedules $(SCHEDULES)) $(if $(SCHEDULE),--schedule $(SCHEDULE))

fuzz: $(DEV) ## Send EXAMPLES=2000 requests, generated from the OpenAPI documents and SEED, to each service
	$(MODULES) $(BIN)/python -m tests.fuzz $(if $(SEED),--seed $(SEED)) $(if $(EXAMPLES),--examples $(EXAMPLES))

generators: $(DEV) ## Generate clients from the OpenAPI documents in four languages, compile and use them; lint the documents
	$(MODULES) $(BIN)/python -m tests.generators $(if $(STRICT),--strict)

restore-drill: $(DEV) ## Lose a database under load, restore it, check the invariants; CASE=order-older or payment-older
	$(MODULES) $(BIN)/python -m tests.chaos.restore $(if $(CASE),--case $(CASE)) $(if $(SEED),--seed $(SEED)) $(if $(SECONDS),--seconds $(SECONDS))

failover-drill: $(DEV) $(FAILOVER) ## Fail over under load: PostgreSQL with Patroni and etcd (must be on PATH); SECONDS=n ends it early
	$(MODULES) $(BIN)/python -m tests.failover $(if $(SEED),--seed $(SEED)) $(if $(SECONDS),--seconds $(SECONDS))

card-rates: $(DEV) ## Measure how many cards and other numbers are refused in codes and free text
	$(MODULES) $(BIN)/python -m tests.support.cards

monitoring: $(DEV) ## Cause faults and check dashboards and alerts on a real Prometheus (must be on PATH)
	$(MODULES) $(BIN)/python -m tests.monitoring

plots: $(DEV) ## Draw what the dashboards show of a fault into docs/plots (Prometheus must be on PATH)
	$(MODULES) $(BIN)/python -m tests.monitoring.plots

browser: $(DEV) ## Test the pages in Chromium (or TANDEM_CHROMIUM); screenshots go to .artifacts
	$(BIN)/pytest -n 0 -s tests/browser

bench: $(DEV) ## Measure the speed; GROWTH=1000000 compares table sizes, BACKLOG=100000 drains one, PROFILE=1 draws flames
	$(MODULES) $(BIN)/python -m ci.bench $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(GROWTH),--growth $(GROWTH)) $(if $(BACKLOG),--backlog $(BACKLOG)) $(if $(PROFILE),--profile)

mutations: $(DEV) ## Break the product in many ways; tests or chaos must detect each
	$(MODULES) $(BIN)/python -m tests.chaos.mutations --markdown

audit: $(DEV) ## Run bandit, pip-audit (needs advisories of PyPI or OSV; else exit status 3) and adversarial tests
	$(MODULES) $(BIN)/python -m ci.audit

citus: $(DEV) ## Run the integration tests with tables distributed by merchant, on the Citus server of CITUS_URL
	@if [ -n "$(CITUS_URL)" ]; then CITUS_URL="$(CITUS_URL)" $(BIN)/pytest -n 0 tests/integration; \
	else echo "CITUS_URL IS NOT SET: THE TESTS WITH TABLES DISTRIBUTED BY MERCHANT ARE SKIPPED"; fi

e2e: $(DEV) ## Test the charts on the cluster of KUBECONFIG; LONG=no skips the longest tests; NODES=3 kills nodes (see ci/e2e)
	PATH="$(CURDIR)/$(BIN):$$PATH" NODES="$(NODES)" LONG="$(LONG)" ci/e2e

gitops: $(DEV) ## Sync the charts with Argo CD (must be on PATH: docs/gitops.md) on the cluster that KUBECONFIG names
	@missing="$$($(MODULES) $(BIN)/python -m tests.support.cluster.argocd)"; if [ -z "$$missing" ]; then \
	$(BIN)/pytest -n 0 --capture=no -m gitops tests/e2e/test_argocd.py; \
	else echo "ARGO CD IS NOT TESTED, BECAUSE THIS MACHINE HAS NO $$missing"; fi

images: ## Build the two container images
	ci/images

package: $(DEV) ## Write the charts, SBOMs of the images and checksums to dist/
	$(BIN)/python -m ci.release.package

site: $(DEV) ## Build the documents as a site in .artifacts/site; a broken link or anchor ends the build
	$(BIN)/mkdocs build --clean --config-file ci/site/mkdocs.yaml

clean: ## Delete what `make run` keeps: databases, keys and logs
	@$(or $(PYTHON),python3) -m ci.laptop.state --remove

# The machine's Python creates .venv and installs into it. PYTHON may name one that is too old, so it is checked.
INSTALLER = PYTHONDONTWRITEBYTECODE=1 $(PYTHON) -m ci.laptop.installer

define check-python
	@test -n "$(PYTHON)" || { echo "Tandem needs Python 3.11 or newer: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "Tandem needs Python 3.11 or newer, and $(PYTHON) is not: make PYTHON=/path/to/python3" >&2; exit 1; }
endef

$(LAPTOP): .venv/bin/python
	$(check-python)
	@$(INSTALLER) requirements/laptop.txt "the packages that Tandem needs" --marker $@

$(DEV): .venv/bin/python
	$(check-python)
	@$(INSTALLER) requirements/dev.txt "the development packages" --marker $@
	@rm -f .venv/laptop-* && touch $(LAPTOP)

# The installer creates it. Without this rule, make would not know how to continue if it is missing.
.venv/bin/python:

# python-etcd and ydiff have no wheels: they are built with the setuptools of a lock, not with one that pip would download.
INSTALL_FAILOVER = .cache/failover/bin/python -m pip install --disable-pip-version-check --require-hashes --only-binary :all:
$(FAILOVER):
	@echo "Installing Patroni into .cache/failover (once)"
	rm -rf .cache/failover && $(BIN)/python -m venv .cache/failover
	$(INSTALL_FAILOVER) -r requirements/failover-build.txt
	$(INSTALL_FAILOVER) --no-binary python-etcd,ydiff --no-build-isolation -r requirements/failover.txt
	@touch $@
