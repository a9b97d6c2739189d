# What a person types. Needs Linux, make and Python 3.11 or newer; everything else is fetched into .venv and ~/.cache.

# The newest Python is not needed, the first that is new enough is taken; name another with `make PYTHON=python3.13 ...`.
PYTHON ?= $(shell for each in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$each" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$each"; break; }; done)

BIN := .venv/bin
INSTALLED := .venv/.installed
ROOTS := schemas producers processors sinks verifiers deploy console

.DEFAULT_GOAL := help
.PHONY: help setup check test long watch express frameworks lake checkov simulate demo examples rebuild drills faults bench growth site pictures image containers test-containers up down clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "%-22s %s\n", $$1, $$2 }'

setup: $(INSTALLED) ## the virtual environment with all packages, when it is not up to date

$(INSTALLED): pyproject.toml constraints.txt
	@if [ -z "$(PYTHON)" ]; then \
		echo "Sealstream needs Python 3.11 or newer; python3 here is $$(python3 -V 2>&1 || true)." >&2; \
		echo "Install one and say which: make setup PYTHON=/path/to/python3.11" >&2; exit 1; \
	fi
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Sealstream needs Python 3.11 or newer; $(PYTHON) is $$("$(PYTHON)" -V 2>&1)." >&2; exit 1; }
	@"$(PYTHON)" -c 'import venv, ensurepip' 2>/dev/null || $(BIN)/python -m pip --version >/dev/null 2>&1 || { \
		echo "$(PYTHON) can't make virtual environments: venv or ensurepip is missing." >&2; \
		echo "On Debian and Ubuntu: apt install python3-venv. Or use another: make setup PYTHON=/path/to/python3.11" >&2; \
		exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { \
		echo "making .venv with $$("$(PYTHON)" -V)"; rm -rf .venv; "$(PYTHON)" -m venv .venv; }
	@echo "installing Sealstream and its servers into .venv (800 MB on disk; some minutes the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

check: setup ## style, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(ROOTS) examples
	$(BIN)/lint-imports
	$(BIN)/pytest -q tests/devstack/test_namespace.py

test: check ## check, then the tests against real Kafka, PostgreSQL and S3 (`make long` has the rest)
	$(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder --durations=15

rebuild: setup ## every test of reconcile, repair and replay, the long ones too: killed, read through, live
	SEALSTREAM_LONG_TESTS=1 $(BIN)/pytest -n 2 --dist loadfile tests/rebuild

long: setup ## what `make test` has no time for: retention, doctor, reviews, servers with TLS and ACLs, systemd, every command of the docs
	SEALSTREAM_LONG_TESTS=1 $(BIN)/pytest -m long -n 2 --dist loadfile --ignore=tests/express --ignore-glob="tests/deploy/test_containers*.py"

watch: setup ## all tests of the watch, the long ones too: workers and roll-up killed and rebalanced at random
	SEALSTREAM_LONG_TESTS=1 $(BIN)/pytest -n 2 --dist loadfile tests/anomaly tests/anomalies tests/lookout tests/reviews

express: setup ## the npm package on every Node that it promises (THIS_NODE=1: on the one here), with a real collector
	SEALSTREAM_LONG_TESTS=1 $(BIN)/pytest -q -rs -m long $(if $(THIS_NODE),-k "not every_node") tests/express "tests/docs/test_docs.py::test_a_pages_commands_do_what_it_says[docs/frameworks/express.md]"

OLDEST := build/oldest-frameworks
frameworks: setup ## the integrations with the oldest versions that they promise (tests/integrations/oldest.txt)
	rm -rf $(OLDEST)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --target $(OLDEST) -r tests/integrations/oldest.txt
	PYTHONPATH=$(CURDIR)/$(OLDEST) SEALSTREAM_LONG_TESTS=1 $(BIN)/pytest -n 2 --dist loadfile tests/integrations

lake: setup ## deploy/tables in DuckDB, Spark and Iceberg, which it installs (500 MB), on an archive that the real sink wrote
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[lake]'
	SEALSTREAM_LONG_TESTS=1 $(BIN)/pytest -q -rs tests/deploy/tables

checkov: setup ## deploy/terraform and the Helm chart by checkov, in an environment of its own (.checkov), and all their other tests
	@test -x .checkov/bin/checkov || { $(BIN)/python -m venv .checkov && .checkov/bin/python -m pip install --quiet 'checkov>=3.3,<4'; }
	SEALSTREAM_LONG_TESTS=1 $(BIN)/pytest -q -rs tests/deploy/terraform tests/deploy/test_chart.py

HISTORIES ?= 10000
simulate: setup ## simulated histories, as many as HISTORIES says, from a new seed (or FROM=seed)
	$(BIN)/python -m tests.simulation --histories $(HISTORIES) --jobs 2 $(if $(FROM),--from $(FROM))

demo: setup ## the whole pipeline, from web requests to tampering found, in a few minutes
	$(BIN)/python -m examples.demo.run

examples: setup ## four applications (Django, Flask, FastAPI, Express) write into one log: nothing missing, nothing doubled
	$(BIN)/python -m examples.apps.run

faults: setup ## real faults for an hour, or MINUTES=5, by SEED=7: nothing may be lost or doubled
	$(BIN)/python -m tests.faults $(if $(SEED),--seed $(SEED)) --minutes $(or $(MINUTES),60)

drills: setup ## every runbook on a real chain, with forged topics, a stolen key, killed restores: a quarter of an hour
	SEALSTREAM_DRILLS=1 $(BIN)/pytest -q tests/runbooks

bench: setup ## every figure in benchmarks/results.md, measured anew
	$(BIN)/python benchmarks/run.py

growth: setup ## one chain to ten million entries, and what an entry costs on the way (35 GB, a quarter of an hour)
	$(BIN)/python benchmarks/growth.py

site: setup ## the documentation as a site, in build/site; SERVE=1 shows it on this machine while pages change
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs $(if $(SERVE),serve,build)

pictures: setup ## the dashboards' pictures in docs/images, from a run of its own: a quarter of an hour; needs Node, Chromium, Prometheus
	cd deploy/grafana/pictures && npm install --no-package-lock --ignore-scripts --no-audit --no-fund --loglevel=error
	$(BIN)/python -m grafana.pictures.run

image: ## the container image sealstream:local, and its SBOM in dist/; needs Docker
	docker build --target sealstream --tag sealstream:local --build-arg "REVISION=$$(git rev-parse HEAD)" .
	@mkdir -p dist
	docker run --rm --network none --entrypoint cat sealstream:local /opt/sealstream/share/sealstream/sbom.cdx.json >dist/sbom.cdx.json

containers: setup ## docker-compose.yml: comes up, refuses what is forbidden, its demo holds, the end-to-end tests on it; needs Docker
	SEALSTREAM_LONG_TESTS=1 $(BIN)/pytest -q -rs -m long tests/deploy/test_containers.py tests/deploy/test_containers_cluster.py
	SEALSTREAM_LONG_TESTS=1 SEALSTREAM_TEST_SERVERS=compose $(BIN)/pytest -q -rs tests/e2e

test-containers: setup ## the end-to-end tests on three brokers, Postgres and S3 of testcontainers, with brokers lost; needs Docker
	SEALSTREAM_LONG_TESTS=1 SEALSTREAM_TEST_SERVERS=containers $(BIN)/pytest -q -rs tests/e2e tests/faults/test_faults.py

up: setup ## start the local stack and all processes in the background
	$(BIN)/sealstream up --detach

down: setup ## stop them; the data in .sealstream stays
	$(BIN)/sealstream down

clean: ## remove .venv, caches and builds; the data in .sealstream stays
	rm -rf deploy/grafana/pictures/node_modules producers/express/node_modules producers/express/dist examples/apps/express_app/node_modules
	rm -rf .venv .checkov .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist build
	find $(ROOTS) tests examples benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
