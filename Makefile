# Each target makes what it needs: `make demo` and `make test` work in a fresh clone.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# A process for each core, of up to 2 GB; tests/conftest.py gives each one thread.
PYTEST := $(BIN)/python -m pytest -q -n auto --maxprocesses 4 --dist worksteal

.PHONY: demo test endure check mutants attack peers oldest bench format clean

demo: $(VENV)/installed
	$(BIN)/inceptory demo

# At most five minutes on two cores.
test: $(VENV)/installed-dev
	$(PYTEST) -m "not slow"

# A run killed a hundred times.
endure: $(VENV)/installed-dev
	INCEPTORY_KILLS=100 $(BIN)/python -m pytest -q tests/learn/test_resume.py -k "killed and many"

check: $(VENV)/installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(PYTEST)

# One line of the package broken after another, each noticed by the test named for it (tests/mutants): 13 minutes of a
# processor, about 8 on two free cores. Not part of CI.
mutants: $(VENV)/installed-dev
	$(BIN)/python -m tests.mutants -j 2

# Damaged files of every kind, given to the commands that read them: INCEPTORY_ATTACK=10m says for how long. A short,
# fixed part of it is among the slow tests.
attack: $(VENV)/installed-dev
	$(BIN)/python -m tests.attack

# Proofs against other people's packages, in an environment of their own.
peers: $(VENV)-peers/installed
	INCEPTORY_PEERS=1 $(VENV)-peers/bin/python -m pytest -q tests/peers

# The fast tests against the oldest versions that pyproject.toml allows, in an environment of their own, of some GB. Old
# libraries warn of one another, so warnings are not errors there. Not part of CI.
oldest: $(VENV)-oldest/installed
	$(VENV)-oldest/bin/python -m pytest -q -n auto --maxprocesses 4 --dist worksteal -m "not slow" -W default

# The READMEs' table and picture from benchmarks/results.csv, to which `python benchmarks/engines.py` adds rows.
bench: $(VENV)/installed
	$(BIN)/python benchmarks/engines_table.py

format: $(VENV)/installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) $(VENV)-peers $(VENV)-oldest dist build

$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(PIP) -e .
	touch $@

$(VENV)-oldest/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)-oldest
	$(VENV)-oldest/bin/python -m pip install --quiet --disable-pip-version-check \
		-e ".[dev]" $$($(PYTHON) tests/oldest.py)
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(PIP) -e ".[dev]"
	touch $@

$(VENV)-peers/installed: pyproject.toml tests/peers/requirements.txt tests/peers/requirements-no-deps.txt
	$(PYTHON) -m venv $(VENV)-peers
	$(VENV)-peers/bin/python -m pip install --quiet --disable-pip-version-check -e ".[dev]"
	$(VENV)-peers/bin/python -m pip install --quiet --disable-pip-version-check -r tests/peers/requirements.txt
	$(VENV)-peers/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r tests/peers/requirements-no-deps.txt
	touch $@
