# From a bare checkout on Debian or Ubuntu, as root or with sudo. Each target sees to what it needs and says what it installs.
#
#   make demo           three throwaway hosts with a validated Kubernetes cluster on them
#   make demo-down      remove them
#   make test           lint, unit tests, then clusters on throwaway hosts
#   make test-all       the same with the slow tests (marker "slow")
#   make lint | unit    the cheap parts: no root, no hosts
#   make go-tests       the tests of our own Go programs
#   make cluster-tests  the others; TESTS="-k destroy" passes on to pytest
#   make molecule       the scenarios of tests/molecule; SCENARIO=ha is one alone
#   make components     build or fetch what clusters are made of, into the user's cache
#   make bench          the figures; by hand, on a quiet machine
#   make clean          remove .venv and the host image

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.NOTPARALLEL:
MAKEFLAGS += --no-print-directory
export PATH := $(CURDIR)/.venv/bin:$(PATH)

PYTHON := .venv/bin/python
KUBEUP := .venv/bin/kubeup
PYTEST := $(PYTHON) -m pytest
DEMO := $${XDG_STATE_HOME:-$$HOME/.local/state}/kubeup/labs/demo/cluster.yaml
TESTS :=
SCENARIO :=

# Nothing is open-ended. --foreground: else Ctrl-C would not reach what runs.
LIMIT := timeout --foreground --kill-after=90

.PHONY: demo demo-down test test-all lint unit go-tests cluster-tests slow-tests molecule components older-components addon-components slow-components bench clean build-tools engine

demo: build-tools engine components
	$(LIMIT) 300 $(KUBEUP) lab create demo --hosts 3 --install
	$(LIMIT) 900 $(KUBEUP) -i "$(DEMO)" up
	@printf '%s\n' '' \
	    'The cluster runs. To use it (or "source .venv/bin/activate" and leave out .venv/bin/):' '' \
	    '    export KUBEUP_INVENTORY='"$(DEMO)" \
	    '    .venv/bin/kubeup status' \
	    '    .venv/bin/kubeup kubeconfig                          # then kubectl, if you have it, knows the cluster' \
	    '    docker exec -it kubeup-lab-demo-1 kubectl get nodes  # else there is one on the master' '' \
	    'To remove it: make demo-down'

demo-down: .venv/stamp
	$(LIMIT) 300 $(KUBEUP) lab destroy demo
	@echo 'The demo is gone. What makes the next one fast stays: the host image and .venv (make clean), and built'
	@echo "components ($${XDG_CACHE_HOME:-$$HOME/.cache}/kubeup)."

test: lint unit go-tests engine components older-components addon-components cluster-tests
test-all: lint unit go-tests engine components older-components addon-components slow-components slow-tests

lint: .venv/stamp
	$(LIMIT) 60 $(PYTHON) -m ruff check
	$(LIMIT) 60 $(PYTHON) -m ruff format --check
	$(LIMIT) 300 $(PYTHON) -m mypy

unit: .venv/stamp
	$(LIMIT) 300 $(PYTEST) tests/unit $(TESTS)

# Each is a module of its own; what they need of others lies in go.sum, and is fetched when they are built.
go-tests: build-tools
	for module in $(dir $(wildcard kubeup/components/modules/*/*/*_test.go)); do \
	    (cd $$module && GOWORK=off GOFLAGS=-mod=readonly $(LIMIT) 300 go test ./...) || exit 1; done

# The trap: fixtures remove their hosts, unless pytest itself was killed.
cluster-tests: .venv/stamp engine components older-components addon-components
	trap '$(PYTHON) -m kubeup.lab sweep' EXIT; $(LIMIT) 2400 $(PYTEST) tests/cluster -v -m "not slow" $(TESTS)

slow-tests: .venv/stamp engine components older-components addon-components slow-components
	@$(LIMIT) 1200 scripts/prepare vagrant
	trap '$(PYTHON) -m kubeup.lab sweep' EXIT; $(LIMIT) 5400 $(PYTEST) tests/cluster -v $(TESTS)

# As a user of Molecule would: it finds its scenarios by the glob, and its programs on PATH.
molecule: .venv/stamp engine components
	LC_ALL=C.UTF-8 MOLECULE_GLOB='tests/molecule/*/molecule.yml' \
	    $(LIMIT) 2400 .venv/bin/molecule test $(if $(SCENARIO),--scenario-name $(SCENARIO),--all)

bench: .venv/stamp engine components
	trap '$(PYTHON) -m kubeup.lab sweep' EXIT; $(LIMIT) 3600 $(PYTHON) tests/bench/bench_up.py; \
	    $(LIMIT) 1800 $(PYTHON) tests/bench/bench_throwaway.py

# Those of clusters that say nothing of versions, whatever inventory this user works with.
components: build-tools
	KUBEUP_INVENTORY=/nonexistent $(LIMIT) 2400 $(KUBEUP) components fetch

# Of the addons that tests turn on, and of those that only slow tests do.
addon-components: components
	$(LIMIT) 2400 $(KUBEUP) components fetch metallb

slow-components: components
	$(LIMIT) 2400 $(KUBEUP) components fetch metrics-server volume-helper local-path-provisioner traefik

# What upgrades are tested from.
older-components: components
	$(LIMIT) 2400 $(KUBEUP) components fetch kubernetes=1.35.4 etcd=3.6.7

engine: .venv/stamp
	$(LIMIT) 2400 $(PYTHON) -m kubeup.lab prepare

build-tools: .venv/stamp
	@$(LIMIT) 1200 scripts/prepare build

.venv/stamp: pyproject.toml
	$(LIMIT) 1200 scripts/prepare venv
	@touch $@

clean:
	rm -rf .venv
	! command -v docker >/dev/null || docker image ls -q "kubeup-lab-*" | xargs --no-run-if-empty docker image rm
