# `make` alone lists the targets. Everything runs in a virtual environment of its own, .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup run demo services services-stop compose-verify test check format bench chaos \
	bench-gateway bench-simulate bench-insight soak soak-contract soak-kills soak-live soak-simulate soak-insight \
	docs clean

help: ## List the targets
	@echo "Usage: make TARGET"; echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY) ## Make the virtual environment (the others do it by themselves)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or later is needed, $(PYTHON) is $$($(PYTHON) --version 2>&1)."; \
		  echo "Name another one: make PYTHON=python3.12 …"; exit 1; }
	@test -x $(BIN)/python || { echo "Making $(VENV) …"; $(PYTHON) -m venv $(VENV); }
	@echo "Installing what is needed (once) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --editable '.[dev]'
	@touch $(READY)

run: $(READY) ## Start the shop, seeded (STORE=mongodb BROKER=rabbitmq JOURNAL=kafka INSTANCES=2); Ctrl-C stops it
	@exec $(BIN)/shop run --seed demo $(if $(STORE),--store-url '$(STORE)') \
		$(if $(BROKER),--broker-url '$(BROKER)') $(if $(JOURNAL),--journal-url '$(JOURNAL)') \
		$(if $(INSTANCES),--instances '$(INSTANCES)')

demo: $(READY) ## Place an order for each outcome and watch its saga
	@exec $(BIN)/shop demo $(if $(URL),--url $(URL))

services: ## Start the real servers here, without Docker (ONLY=rabbitmq for one of them)
	@docker/native/services start $(ONLY)

services-stop: ## Stop them again
	@docker/native/services stop $(ONLY)

compose-verify: $(READY) ## Try docker/compose.yaml for real; exits with 3 where Docker cannot run
	@docker/compose-verify.sh

# Most of the long ones wait for processes: three at a time keep two cores busy.
test: $(READY) ## Run all tests
	@$(BIN)/python -m pytest -n 3 --dist loadfile

check: $(READY) ## Format, lint, types, architecture, and the shop's own choreography
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest tests/test_architecture.py
	@$(BIN)/sagas check participants.choreography:shop

format: $(READY) ## Put the code into its format
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: $(READY) ## Measure sagas a second (STORE=mongodb BROKER=rabbitmq)
	@$(BIN)/python -m bench.throughput $(if $(STORE),--store '$(STORE)') \
		$(if $(BROKER),--broker '$(BROKER)')

bench-gateway: $(READY) ## Measure the gateway overloaded, before failing services and slow clients
	@$(BIN)/python -m bench.gateway_overload
	@$(BIN)/python -m bench.isolation
	@$(BIN)/python -m bench.slow_clients

bench-simulate: $(READY) ## Measure simulated sagas a second a core
	@$(BIN)/python -m bench.simulate

chaos: $(READY) ## 20,000 orders while everything is struck (ORDERS=… BLOWS=… SEED=…)
	@REQUIRE_SERVICES=1 $(BIN)/python -m pytest tests/e2e/test_chaos.py -s --chaos-orders $(or $(ORDERS),20000) \
		--chaos-blows $(or $(BLOWS),600) --chaos-seed $(or $(SEED),shop)

bench-insight: $(READY) ## Measure events a second on Kafka, and how long a killed worker is missed
	@$(BIN)/python -m bench.insight

soak: soak-contract soak-kills soak-live soak-simulate soak-insight ## The long forms of the tests

soak-contract: $(READY) ## 500 made-up requests for each operation of the API
	@$(BIN)/python -m pytest tests/contract/test_conformance.py --contract-cases 500 -s

soak-kills: $(READY) ## 1,000 kills under load
	@$(BIN)/python -m pytest tests/e2e/test_kill_and_restart.py --kills 1000 -s

soak-live: $(READY) ## 10,000 simulated sagas without a false alarm
	@$(BIN)/python -m pytest tests/live --live-sagas 10000 -s

soak-simulate: $(READY) ## 100,000 simulated worlds (SEEDS=…), 1,000 seeds twice, mutants searched
	@$(BIN)/sagas simulate participants.simulation:world --seeds $(or $(SEEDS),100000)
	@$(BIN)/python -m pytest tests/simulation --same-seeds 1000 --search-mutants -s

soak-insight: $(READY) ## 10,000 sagas through both hosts; 50 kills on Kafka (make services)
	@$(BIN)/python -m pytest tests/insight/test_same_answers.py --insight-sagas 10000 -s
	@REQUIRE_SERVICES=1 $(BIN)/python -m pytest tests/kafka/test_kills.py --insight-kills 50 -s

docs: $(READY) ## Make the generated parts of the documentation anew
	@$(BIN)/python -m shop.docs

clean: ## Remove the virtual environment and caches; data stays
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache *.egg-info
