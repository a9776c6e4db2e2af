# make repro: set up, then the whole comparison on built-in synthetic people -> results/
# make repro COCO_DIR=<folder>: the same on your own folder in COCO format
# make test: set up, then the tests. make lint: ruff.
# make test-slurm: the tests that need a SLURM, on one of Debian's packages (as root).
# make bench [DATA=<folder>]: speed beside stock MMPose -> benchmarks/results/

PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
	2>/dev/null && echo $$python && break; done)
REQUIREMENTS = requirements.in requirements.lock requirements-nodeps.txt
# Stages run as `python -m`: the environment's python comes first.
export PATH := $(CURDIR)/.venv/bin:$(PATH)
SHELL = /bin/bash

.PHONY: setup repro test test-all test-slurm bench lint

setup: .venv/complete

.venv/complete: $(REQUIREMENTS)
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11, 3.12 or 3.13 found;" \
		"name one: make PYTHON=/path/to/python" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet -r requirements.in -c requirements.lock
	.venv/bin/python -m pip install --quiet --no-deps -r requirements-nodeps.txt
	touch $@

repro: setup
ifdef COCO_DIR
	python -m stages.plan data=coco_dir "data.root=$(COCO_DIR)"
endif
	dvc repro

test: setup
	python -m pytest

test-all: setup
	python -m pytest -m ''

test-slurm: setup
	tests/slurm/one_node.sh install
	python -m pytest -m '' tests/test_slurm.py

bench: setup
ifndef DATA
	test -d data/synthetic || python -m stages.prepare synthetic
endif
	python benchmarks/run.py $(if $(DATA),--root "$(DATA)")

lint: setup
	ruff check .
	ruff format --check .
