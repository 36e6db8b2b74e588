# Developer commands. Each installs what it needs: Python packages into .venv, and for the tests
# servers: Debian's with apt-get when root, others into .servers.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SERVERS := .servers
export MANIPLE_TOOLS := $(CURDIR)/$(SERVERS)/tools
.DEFAULT_GOAL := help

help:  ## Show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-8s %s\n", $$1, $$2}'

setup: $(READY)  ## Make .venv with everything that development needs

$(READY): pyproject.toml requirements.txt
	@./scripts/setup $(PYTHON) $(VENV)
	@touch $@

demo: $(READY)  ## Sweep a classifier over digits, kill a minion on the way; tell two voices apart; group points
	@./scripts/install-servers $(SERVERS) espeak
	@$(BIN)/python examples/digits/demo.py
	@$(BIN)/python examples/voices/demo.py
	@$(BIN)/python examples/kmeans-c/demo.py

servers:  ## Install the servers that the tests talk to, as far as that is permitted
	@./scripts/install-servers $(SERVERS)

test: $(READY) servers  ## Run the tests
	@./scripts/test $(BIN)/python

check: $(READY)  ## Format, lint and strict types
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy

format: $(READY)  ## Format and mend what can be mended
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: $(READY) servers  ## Measure against peers, which it installs into .bench
	@$(BIN)/python benchmarks/run.py

soak: $(READY) servers  ## Run the slow proofs
	@$(BIN)/python -m pytest -n auto --dist loadgroup -m soak tests

clean:  ## Remove what these commands made
	rm -rf $(VENV) $(SERVERS) .bench .demo .pytest_cache .mypy_cache .ruff_cache .hypothesis

.PHONY: help setup servers demo test check format bench soak clean
