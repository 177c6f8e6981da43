# Everything runs from a fresh clone with python3 and make; `make help` lists the targets.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/installed

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## */\1\t/' | expand -t 12

install: $(STAMP)  ## set up .venv with everything pinned in constraints/

$(STAMP): pyproject.toml constraints/cpu.txt constraints/tested.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints/cpu.txt -c constraints/tested.txt -e '.[dev]'
	touch $(STAMP)

demo: install  ## train every first scheme on both tasks, then compare them: outputs/demo/report/
	$(BIN)/tietrain experiment=demo
	$(BIN)/tietrain report outputs/demo

test: install  ## the default test suite
	$(BIN)/python -m pytest -q -n 2 --dist worksteal

test-all: install  ## slow tests too
	$(BIN)/python -m pytest -q -m 'not gpu' -n 2 --dist worksteal

lint: install  ## ruff and mypy
	$(BIN)/ruff check src tests scripts
	$(BIN)/ruff format --check src tests scripts
	$(BIN)/mypy

calibrate: install  ## how often verdicts err, by simulation: the tables of docs/statistics.md
	$(BIN)/python scripts/calibrate.py --write

bench: install  ## speed and memory against a hand-written loop, as ratios
	$(BIN)/python scripts/bench.py

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

.PHONY: help install demo test test-all lint bench torture fuzz docs examples clean
