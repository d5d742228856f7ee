# Two commands for a fresh machine with Python 3.11 or newer: `make demo` and `make test`.
# Each makes .venv and installs what it needs, once, and again when pyproject.toml changes.

.PHONY: windows-test help demo test lint check repeat bench chaos attack fuzz renderers web-test deb deb-test install-test types clean

VENV := .venv
BIN := $(VENV)/bin
DEMO := examples/cornell/out

help:
	@echo "make demo   render an animated scene and make a movie of it, into $(DEMO)"
	@echo "make test   run all tests, in two processes; JOBS=4 in as many"
	@echo "make lint   formatting, style, types, spelling, words"
	@echo "make check  lint and test"
	@echo "make repeat the simulated tests 50 times (minutes)"
	@echo "make bench  the benchmarks (minutes)"
	@echo "make chaos  rounds of faults on a real agent (minutes); ROUNDS=300 SEED=1 repeat a run"
	@echo "make attack each helper killed and stopped, each file exchanged, each system call failed (20 minutes); SITES=flush"
	@echo "make fuzz   wrong bytes for every decoder (minutes); INPUTS=1000000 SEED=1 ONLY=job"
	@echo "make renderers  real programs render and fail (10 minutes, 3 GB); ONLY=blender SCENE=gpu RECORD=1"
	@echo "make web-test  the page in Chromium: a render with Mitsuba, 1000 renders, all views (minutes)"
	@echo "make deb    a Debian package, into dist; EXTRAS=cli,web,thumbnails"
	@echo "make deb-test  installs, upgrades and removes it in a folder (root, debootstrap, minutes)"
	@echo "make install-test  the commands of docs/install.md (a package index, a minute)"
	@echo "make types  pyright: the share of the public names whose types are known"
	@echo "make windows-test  what Windows can run, with a Windows Python under Wine (10 minutes, 1 GB); QUICK=1 ONLY=..."
	@echo "make clean  remove $(VENV) and $(DEMO)"

demo: $(VENV)/.demo
	@mkdir -p $(DEMO)
	$(BIN)/python examples/cornell/submit.py > $(DEMO)/cornell.json
	$(BIN)/trio_afrender run $(DEMO)/cornell.json --agents 2 --store $(DEMO) --report $(DEMO)/report.json
	@echo "movie: $(DEMO)/cornell.mp4    all frames: $(DEMO)/contact.png"

# A file's tests run one after another: files share nothing, tests of one file may.
JOBS ?= 2
test: $(VENV)/.test
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell
	$(BIN)/python tests/support/private_words.py

check: lint test

repeat: $(VENV)/.test
	@for turn in $$(seq 50); do \
		echo "turn $$turn"; \
		$(BIN)/python -m pytest -q tests/simulated || exit 1; \
	done

bench: $(VENV)/.test
	$(BIN)/python tests/benchmarks

ROUNDS ?= 300
chaos: $(VENV)/.test
	$(BIN)/python tests/chaos --rounds $(ROUNDS) $(if $(SEED),--seed $(SEED)) $(if $(FIRST),--first $(FIRST))

attack: $(VENV)/.test
	ATTACKS=all SITES="$(SITES)" $(BIN)/python -m pytest -n $(JOBS) tests/integration/test_attacks.py tests/integration/test_frozen_helpers.py tests/integration/test_system_calls.py

INPUTS ?= 20000
fuzz: $(VENV)/.test
	$(BIN)/python tests/fuzz --inputs $(INPUTS) $(if $(SEED),--seed $(SEED)) $(if $(ONLY),--only "$(ONLY)")

# The programs are in .renderers, which `make clean` leaves: a download of 1 GB.
renderers: $(VENV)/.test
	$(BIN)/python tests/renderers $(if $(ONLY),--only "$(ONLY)") $(if $(SCENE),--scene "$(SCENE)") $(if $(RECORD),--record)

# Playwright drives the Chromium of the host (Debian: apt install chromium).
web-test: $(VENV)/.demo $(VENV)/.test
	WEB=all $(BIN)/python -m pytest tests/integration/test_page_scripts.py tests/integration/test_page_in_browser.py tests/integration/test_page_of_large_farm.py tests/integration/test_page_on_afserver.py

# pyright looks for the package in the environment of the first python on PATH.
types: $(VENV)/.types
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/pyright --verifytypes trio_afrender --ignoreexternal

# The interpreter is that of the hosts: Debian's, not the one that this is run with.
EXTRAS ?= cli,web
deb: $(VENV)/.test
	$(BIN)/python packaging/debian/build.py --output dist --extras $(EXTRAS)

deb-test: $(VENV)/.test
	DEB_TEST=1 $(BIN)/python -m pytest -v tests/deb

install-test: $(VENV)/.test
	INSTALL_TEST=1 $(BIN)/python -m pytest -v tests/install

# Wine's Python is in .wine, which `make clean` leaves.
windows-test: $(VENV)/.test
	$(BIN)/python tests/windows $(if $(QUICK),--quick) $(ONLY)

clean:
	rm -rf $(VENV) $(DEMO)

# A candidate counts if it starts, is new enough and can make virtual environments: a name may be
# there without a program behind it, and some systems ship Python without ensurepip.
$(BIN)/python:
	@for each in $(PYTHON) python3 python3.14 python3.13 python3.12 python3.11 python; do \
		if "$$each" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
			echo "making $(VENV) with $$each ($$("$$each" --version 2>&1))"; \
			exec "$$each" -m venv $(VENV); \
		fi; \
	done; \
	echo "make: no Python 3.11 or newer with venv and ensurepip found; install one (Debian: apt install python3-venv) or say make PYTHON=/path/to/python3" >&2; \
	exit 1

$(VENV)/.demo: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[demo]'
	@touch $@

$(VENV)/.types: $(VENV)/.test
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[types]'
	@touch $@

$(VENV)/.test: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test,lint]'
	@touch $@
