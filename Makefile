# Everything a developer or CI runs. Each target makes the virtual environment itself when missing.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PACKAGES := flows tasks storage musichash_core tests

# Of 'make serve'.
MUSIC ?=
STORE ?= ~/music.store
AT ?= 02:00
SERVE_OPTIONS ?= --now

.PHONY: help demo serve music-is-named test test-slow check format format-check lint types imports bench fuzz faults audit clean

help:
	@echo "make demo    run the pipeline on the sample catalogue of real music"
	@echo "make serve MUSIC=~/Music    nights on a schedule with a UI; STORE=~/music.store AT=02:00"
	@echo "make test    run the tests"
	@echo "make check   what CI runs: format, lint, types, import contracts, tests"
	@echo "make audit   look the pinned dependencies up in the databases of vulnerabilities"
	@echo "make bench   time the extraction beside a plain librosa pipeline"
	@echo "make fuzz    decode 10,000 damaged sound files in the box"
	@echo "make format  rewrite the sources in the project's format"

$(READY): pyproject.toml deploy/constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint deploy/constraints.txt --editable '.[cpu,dev]'
	touch $@

demo: $(READY)
	$(BIN)/musichash demo --store demo/store; status=$$?; test $$status -eq 0 -o $$status -eq 3

# Runs until Ctrl-C. The first night begins at once, the others at AT; a shell that is given
# MUSIC=~/Music does not always expand the ~.
serve: music-is-named $(READY)
	@echo "for the login of the UI: $(BIN)/musichash server credentials --show"
	@music='$(MUSIC)' store='$(STORE)'; \
	case $$music in '~/'*) music=$$HOME/$${music#??};; esac; \
	case $$store in '~/'*) store=$$HOME/$${store#??};; esac; \
	exec $(BIN)/musichash serve --catalogue "$$music" --store "$$store" --at '$(AT)' $(SERVE_OPTIONS)

music-is-named:
	@test -n '$(MUSIC)' || { echo "name the folder of your music: make serve MUSIC=~/Music" >&2; exit 2; }

test: $(READY)
	$(BIN)/pytest -n 2 --dist loadfile -m "not slow and not gpu"

test-slow: $(READY)
	$(BIN)/pytest -n 2 --dist loadfile -m "slow and not gpu"

check: format-check lint types imports test

format: $(READY)
	$(BIN)/ruff format $(PACKAGES)
	$(BIN)/ruff check --fix $(PACKAGES)

format-check: $(READY)
	$(BIN)/ruff format --check $(PACKAGES)

lint: $(READY)
	$(BIN)/ruff check $(PACKAGES)

types: $(READY)
	$(BIN)/mypy

imports: $(READY)
	$(BIN)/lint-imports --config .importlinter

bench: $(READY)
	$(BIN)/musichash bench extract

fuzz: $(READY)
	$(BIN)/python tests/benchmarks/fuzz_decoder.py --mutants 10000

faults: $(READY)
	$(BIN)/python tests/faults/publishing_run.py --every --work $$(mktemp -d)/faults

audit: $(READY)
	$(BIN)/python .ci/audit.py

clean:
	rm -rf $(VENV) demo build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
