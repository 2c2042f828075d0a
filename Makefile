# Each target makes its own .venv when needed; nothing else is assumed but Python 3.11 or later.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: run test lint bench soak lock model clean

run: $(STAMP)            ## the service on http://localhost:8080 with the embedded cluster
	$(BIN)/lambda-builder dev

test: lint               ## lint, then the whole suite
	$(BIN)/python -m pytest -m "not soak" -n 4 --dist worksteal

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMP)          ## numbers as ratios within one run; see docs/benchmarks.rst
	$(BIN)/python -m bench

soak: $(STAMP)           ## the long crash loops
	$(BIN)/python -m pytest -m soak --timeout 1800

$(STAMP): setup.cfg setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -qq --disable-pip-version-check --upgrade pip setuptools
	$(BIN)/python -m pip install -qq --disable-pip-version-check --editable '.[dev,otlp]'
	touch $@

lock:                    ## requirements.lock: what the image installs, with hashes
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/pip install --quiet uv==0.13.9
	echo 'setuptools>=80,<83' | .venv-lock/bin/uv pip compile --quiet --upgrade --extra otlp \
	  --python-version 3.13 --universal --generate-hashes --no-emit-index-url --no-annotate \
	  --custom-compile-command "make lock" --output-file requirements.lock setup.cfg -

model:                   ## every order in which two replicas can fail; needs Debian's spin and gcc
	$(PYTHON) docs/model/check.py

clean:
	rm -rf $(VENV) .venv-lock build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
