# luigi-ha. `make` alone lists the targets. Everything is installed into .venv, nothing outside of this directory
# (except, by `make test` as root, the servers and the browser that the tests need, if missing: .ci/databases).
BIN := .venv/bin
FAILOVERS := kill-scheduler kill-keeper kill-node kill-keeper-no-hook kill-node-no-hook switchover switchover-with-primary \
	lose-leader lose-leader-and-etcd lose-leader-and-primary lose-all-three lose-primary lose-primary-and-etcd lose-etcd \
	lose-bystander cut-leader cut-leader-and-primary cut-etcd cut-postgres freeze-scheduler freeze-keeper freeze-node \
	freeze-host freeze-patroni
SEEDS ?= 1-50

.DEFAULT_GOAL := help
.PHONY: help setup databases run cluster test lint types layers tests clean
.PHONY: differential config-differential luigi-suite lock wheel package-proof release
.PHONY: attack defects failover-drill fault-drill fleet-drill compat-drill newcomer-drill

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-20s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install into .venv (again only if requirements.lock changed)
	@.ci/setup

databases: ## install the database servers the tests need, if missing (Debian, as root)
	@.ci/databases

run: setup ## demonstration: a real pipeline through kill -9 of the scheduler (KEEP=1 leaves it up)
	@$(BIN)/python examples/demo/demo.py $(if $(KEEP),--keep)

cluster: setup databases ## three hosts in namespaces, each with etcd, PostgreSQL under Patroni and luigi-ha (as root)
	@$(BIN)/luigi-ha lab up $(ARGS)
	@echo '  (luigi-ha is $(BIN)/luigi-ha here)'

test: setup databases ## all checks: ruff, mypy, layers, tests
	@$(MAKE) --no-print-directory lint types layers tests

lint: setup
	@.ci/step "ruff" $(BIN)/ruff check .

types: setup
	@.ci/step "mypy --strict" $(BIN)/mypy

layers: setup
	@.ci/step "import-linter" $(BIN)/lint-imports --no-cache

tests: setup
	@.ci/step "pytest" $(BIN)/pytest -q -n 4 --dist loadfile --no-loadscope-reorder --durations=10

differential: setup ## the same 1,000,000 random calls to luigi's scheduler and ours (SEEDS=1-50)
	@$(BIN)/python -m tests.differential --seeds $(SEEDS)

config-differential: setup ## 10,000 luigi.cfg and environments, read by luigi and by us (CASES=10000 SEED=1)
	@$(BIN)/python -m tests.config --cases $(or $(CASES),10000) --seed $(or $(SEED),1)

luigi-suite: setup ## luigi's own tests, with the slow ones that `make test` leaves out
	@LUIGI_SUITE_SLOW=1 $(BIN)/pytest -q tests/luigi_suite --durations=0

bench: setup databases ## luigid and luigi-ha in one run, a table with ratios (about 20 minutes; ARGS="--help")
	@command -v wrk >/dev/null || apt-get install -y --no-install-recommends wrk
	@$(BIN)/python -m bench $(ARGS)

drill: setup databases ## 200 SIGKILLs each on SQLite and PostgreSQL, 50 of PostgreSQL itself (about 45 minutes)
	@$(BIN)/python -m drills.durability --database sqlite --kills 200
	@$(BIN)/python -m drills.durability --database postgresql --kills 200
	@$(BIN)/python -m drills.durability --database postgresql --fault database --kills 50

failover-drill: setup databases ## 20 failovers of each kind in a lab (as root; hours; ARGS="run --help")
	@$(BIN)/luigi-ha drill $(if $(ARGS),$(ARGS),run --on lab --load none --rounds 20 $(FAILOVERS))

fault-drill: setup databases ## 230 rounds of faults at random, every third of two, in a lab, by a seed (as root; two to three hours)
	@$(BIN)/luigi-ha drill run --on lab --random 230 --retry-wait 10 --seed $(or $(SEED),2026)

defects: setup databases ## switch each of our known defects on: a named test must fail (as root; about 20 minutes)
	@$(BIN)/python -m tests.defects $(ARGS)

fleet-drill: setup databases ## workers through failovers, outages and their own deaths (as root; about 70 minutes; ARGS="--help")
	@$(BIN)/python -m drills.fleet --self-test
	@$(BIN)/python -m drills.fleet $(if $(ARGS),$(ARGS),--all)

compat-drill: setup databases ## pipelines of law and b2luigi through a failover (as root; about 5 minutes; ARGS="--help")
	@$(BIN)/python -m drills.compat $(ARGS)

attack: setup ## an attacker's hour against one node, and what others feel of it (about 10 minutes; ARGS="--help")
	@ATTACK_VALUES=all $(BIN)/pytest -q --timeout 900 tests/attack/test_values.py
	@$(BIN)/python -m tests.attack.hour $(ARGS)

newcomer-drill: setup ## README and pages typed into a fresh Debian 12 (as root; half an hour; ARGS="--help")
	@command -v debootstrap >/dev/null || apt-get install -y --no-install-recommends debootstrap
	@$(BIN)/python -m drills.newcomer $(ARGS)

lock: setup ## write both lock files anew from pyproject.toml (some minutes)
	@.ci/lock

wheel: setup ## wheel and source distribution into dist/, checked as an index checks them
	@.ci/wheel

package-proof: wheel ## both installed with the runtime lock alone, and used beside a user's own worker.py (a minute)
	@$(BIN)/python -m drills.package

release: setup ## make VERSION=0.2.0 release: version, changelog, wheel, commit and tag; publishes nothing
	@.ci/release "$(VERSION)"

clean: ## remove what the other targets made
	rm -rf .venv .cache dist run .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
