# Needs Python 3.10 or newer and git; everything else is made in .venv, by uv.
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
UV := $(shell command -v uv 2>/dev/null || echo .bootstrap/bin/uv)
ARGS ?=

.PHONY: help up down dags test test-cluster test-releases test-repositories lint format bench docs clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

up: .venv/made ## boot Airflow and Vault on the sample DAGs, and watch them (make up ARGS=--detach)
	$(BIN)/devenv up $(ARGS)

down: .venv/made ## stop what `make up` started; its data stays
	$(BIN)/devenv down $(ARGS)

dags: .venv/made ## bring the DAG volume in step with dags/, without touching the deployment
	$(BIN)/devenv sync $(ARGS)

test: .venv/made ## the tests that need no cluster
	$(BIN)/pytest tests/unit tests/contract tests/local -m "not cluster and not repositories" $(ARGS)

test-cluster: .venv/made ## the tests on a real minikube
	$(BIN)/pytest tests/contract tests/cluster -m "cluster and not repositories" --timeout 1200 $(ARGS)

test-releases: .venv/made ## each release of Airflow, on the local backend; writes docs/releases.md
	$(BIN)/python tests/releases.py $(ARGS)

test-repositories: .venv/made ## repositories laid out for Astro, MWAA and so on, locally and on a real minikube
	$(BIN)/pytest tests/local/test_repositories.py tests/cluster/test_repositories.py --timeout 1200 $(ARGS)

lint: .venv/made ## ruff, mypy, and which room may import which
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/made ## put the code in order, and the reference in step with it
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/python docs/generate.py

bench: .venv/made ## the benchmarks, each beside its alternative
	@for file in benchmarks/[a-z]*.py; do echo "== $$file"; $(BIN)/python $$file $(ARGS) || exit 1; done

docs: .venv/made ## the documentation as a site, in site/
	$(UV) pip install --quiet --python $(BIN)/python --group docs
	$(BIN)/python docs/generate.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

clean: ## remove what these targets made; environments stay
	rm -rf .venv .bootstrap site build dist

.venv/made: pyproject.toml | $(UV)
	@test -x $(BIN)/python || $(UV) venv --quiet --allow-existing --python "$(PYTHON)" .venv
	$(UV) pip install --quiet --python $(BIN)/python --editable . --group dev
	@touch $@

.bootstrap/bin/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
	  || { echo "devenv needs Python 3.10 or newer; name one: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv .bootstrap || { rm -rf .bootstrap; echo "next: apt install python3-venv" >&2; exit 1; }
	@.bootstrap/bin/python -m pip install --quiet --disable-pip-version-check "uv>=0.8"
