# Everything runs from a fresh clone with python3 and make; `make help` lists the targets.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/installed
USED := .venv/installed-to-use
PEERS := .venv/peers/installed
PIP := $(BIN)/python -m pip install --disable-pip-version-check --progress-bar on -c constraints/cpu.txt -c constraints/tested.txt

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## */\1\t/' | expand -t 12

install: $(STAMP)  ## set up .venv with everything pinned in constraints/

$(STAMP): $(USED)
	$(PIP) -e '.[dev]'
	touch $(STAMP)

$(USED): pyproject.toml constraints/cpu.txt constraints/tested.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing into .venv: about 1.6 GB, most of it torch (more if pip fetches a torch with GPU libraries)"
	$(PIP) -e '.[launchers]'
	touch $(USED)

demo: $(USED)  ## a first study in a minute of two cores: does sharing help a small language model?
	@$(BIN)/python scripts/demo.py

demo-full: $(USED)  ## train every first scheme on both tasks, then compare them: outputs/demo_full/report/
	$(BIN)/tietrain experiment=demo_full
	$(BIN)/tietrain report outputs/demo_full

test: install  ## the default test suite
	$(BIN)/python -m pytest -q -n 2 --dist worksteal

test-all: install  ## slow tests too
	$(BIN)/python -m pytest -q -m 'not gpu' -n 2 --dist worksteal

test-gpu: install  ## what only a GPU can show, on a host that has one; some of it needs two
	$(BIN)/python -m pytest -q -m gpu tests/train

lint: install  ## ruff and mypy
	$(BIN)/ruff check src tests scripts
	$(BIN)/ruff format --check src tests scripts
	$(BIN)/mypy

calibrate: install  ## how often verdicts err, by simulation: the tables of docs/statistics.md
	$(BIN)/python scripts/calibrate.py --write

bench: $(PEERS)  ## speed and memory beside transformers, x-transformers, Eole, CTranslate2 and a loop by hand
	.venv/peers/bin/python -W ignore scripts/bench.py

# In an environment of their own: Eole pins other versions than those that tietrain is tested with.
$(PEERS): pyproject.toml constraints/cpu.txt
	$(PYTHON) -m venv .venv/peers
	.venv/peers/bin/python -m pip install --disable-pip-version-check -c constraints/cpu.txt -e . transformers x-transformers ctranslate2 eole
	touch $(PEERS)

torture: install  ## put the promises of docs/reliability.md to the test: kills, full disks, damage, attacks
	$(BIN)/python scripts/torture.py

fuzz: install  ## a minute of coverage-guided fuzzing for each reader of foreign files
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints/tested.txt -e '.[fuzz]'
	for target in run_directory configuration corpora; do $(BIN)/python scripts/fuzz.py $$target -max_total_time=60 || exit 1; done

docs: install  ## refresh the generated tables of README and docs
	$(BIN)/python scripts/refresh_docs.py

examples: install  ## make the reports of docs/examples again from the run records kept there
	$(BIN)/python scripts/examples.py

clean:  ## remove what builds and tests leave; .venv and outputs stay
	rm -rf build dist .pytest_cache .hypothesis .mypy_cache .ruff_cache src/*.egg-info

.PHONY: help install demo demo-full test test-all test-gpu lint bench torture fuzz docs examples clean
