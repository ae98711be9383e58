# Two commands are all that a newcomer needs: `make demo` and `make test`.

# VENV is taken from the command line only: `make clean` removes it, so a variable that happens to be set must not name it.
VENV = .venv
BIN = $(VENV)/bin
PYTHON ?=
PYTEST_ARGS ?=
# A module's tests stay together, for they share what was made for them; most of their time is waiting.
PYTEST_PROCESSES ?= --numprocesses 3 --dist loadscope
BENCH_ARGS ?=
PIP_INSTALL = $(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt

RUN_READY = $(VENV)/.ready-to-run
TEST_READY = $(VENV)/.ready-to-test

.PHONY: help demo test check fuzz bench clean venv

help: ## say what can be made (this list)
	@echo 'usage: make TARGET [PYTHON=python3.12] [VENV=.venv] [PYTEST_ARGS=...]'
	@echo
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/\1|\2/p' Makefile | awk -F'|' '{ printf "  %-7s %s\n", $$1, $$2 }'

demo: $(RUN_READY) ## install into .venv, then open the small trained model that ships with svdtui
	@$(BIN)/svdtui --demo

test: $(TEST_READY) ## install into .venv with the test tools, then run every check
	@$(MAKE) --no-print-directory check fuzz

READY = @test -x $(BIN)/ruff || { echo "$(VENV) holds no test tools yet: run 'make test' once." >&2; exit 1; }

check: ## format, lint, types, import contracts and tests, with what .venv holds
	$(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -m pytest $(PYTEST_PROCESSES) -m 'not fuzz' $(PYTEST_ARGS)

fuzz: ## 2,000 changed headers and 3,000 random keys, the same ones every time, with what .venv holds
	$(READY)
	$(BIN)/python -m pytest $(PYTEST_PROCESSES) -m fuzz

bench: $(TEST_READY) ## measure speed and memory, each beside its reference, in one run
	@env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE $(BIN)/python benchmarks/run.py $(BENCH_ARGS)

clean: ## remove .venv, caches and built packages
	rm -rf $(VENV) dist build .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps say what the environment is ready for. The code is linked (--editable), so only a change of the
# requirements installs anything again.
$(RUN_READY): pyproject.toml constraints.txt | venv
	$(PIP_INSTALL) --editable .
	@touch $@

$(TEST_READY): pyproject.toml constraints.txt | venv
	$(PIP_INSTALL) --editable '.[test]'
	@touch $(RUN_READY) $@

venv:
	@version='import sys; print("%d.%d" % sys.version_info[:2])'; \
	named='$(PYTHON)'; found=; seen=; \
	for python in $${named:-python3 python3.14 python3.13 python3.12 python3.11}; do \
		seen=$$("$$python" -c "$$version" 2>/dev/null) || continue; \
		case $$seen in 3.1[1-9] | 3.[2-9][0-9]) found=$$python; break ;; esac; \
	done; \
	if test -x $(BIN)/pip; then \
		has=$$($(BIN)/python -c "$$version"); \
		if test -n "$$named" && test "$$seen" != "$$has"; then \
			echo "$(VENV) was made with Python $$has, and PYTHON=$$named is $${seen:-not something that runs}: run 'make clean' first, or name another folder with VENV=." >&2; \
			exit 1; \
		fi; \
	elif test -n "$$found"; then \
		"$$found" -m venv $(VENV); \
	elif test -n "$$named"; then \
		echo "svdtui needs Python 3.11 or newer, and PYTHON=$$named is $${seen:-not something that runs}." >&2; \
		exit 1; \
	else \
		echo "svdtui needs Python 3.11 or newer, and none was found on PATH: install one, or name it, as in 'make demo PYTHON=/path/to/python3.12'." >&2; \
		exit 1; \
	fi
