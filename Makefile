# Nothing is assumed but Python 3.11 or later: what a target needs is installed into .venv, exactly as
# the locks pin it (tools/install.py). `make help` lists the targets.
PYTHON ?= python3
VENV   := .venv
BIN     = $(VENV)/bin
CHECK   = $(PYTHON) -c "import sys; sys.version_info >= (3, 11) or sys.exit( \
	'lambda-builder needs Python 3.11 or later, $(PYTHON) is %d.%d: try make PYTHON=python3.13.' \
	% sys.version_info[:2])"
INSTALL = $(CHECK) && $(PYTHON) tools/install.py
COMPILE = $(BIN)/uv pip compile --quiet --system-certs --upgrade --python-version 3.11 --universal \
	--fork-strategy fewest --generate-hashes --no-emit-index-url --no-annotate --custom-compile-command "make lock"

# Of a hundred processes that the suite starts none shall compile what another has compiled.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help run test test-cluster test-newest lint bench docs soak model mutants fuzz audit sbom releases page builders checkov lock clean installed installed-dev

help:                ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1|/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "make %-12s %s\n", $$1, $$2}'

run: installed       ## the service on http://localhost:8080 with the embedded cluster
	$(BIN)/lambda-builder dev

test: lint           ## lint, then the whole suite
	$(BIN)/python -m pytest -m "not soak" -n 4 --dist worksteal

test-cluster: installed-dev ## end to end on a real cluster: make test-cluster KUBECONFIG=PATH
	$(if $(KUBECONFIG),,$(error say which cluster: make test-cluster KUBECONFIG=PATH))
	CLUSTER_KUBECONFIG=$(abspath $(KUBECONFIG)) $(BIN)/python -m pytest tests/cluster \
		-n 0 -v -rxs --timeout 600

test-newest:         ## the same with the newest releases that setup.cfg allows
	@$(INSTALL) newest --venv $(VENV)-newest
	$(MAKE) test VENV=$(VENV)-newest INSTALL=:

lint: installed-dev  ## ruff, mypy, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: installed-dev ## numbers as ratios within one run; see docs/performance.rst
	$(BIN)/python -m bench

docs: installed-dev  ## these pages as HTML, in docs/_build; what the code says is written into them first
	$(BIN)/python docs/reference.py
	$(BIN)/python docs/schemas.py
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going --builder html docs docs/_build

soak: installed-dev  ## the long crash loops, and more generated input
	$(BIN)/python -m pytest -m soak --timeout 1800
	$(BIN)/python -m pytest -m "hypothesis and not soak" --hypothesis-profile soak --timeout 1800

model:               ## every order in which two replicas can fail; needs Debian's spin and gcc
	$(PYTHON) docs/model/check.py

# mutmut brings a terminal interface with it, so it has a venv of its own.
# ONLY='lambda_builder.pipeline.ordering*' is a pattern of mutants' names, or several.
mutants:             ## change the code in thousands of ways that tests must notice; hours, or a part: ONLY=PATTERN
	@$(INSTALL) dev --venv $(VENV)-mutants
	@$(VENV)-mutants/bin/uv pip install --quiet --system-certs --python $(VENV)-mutants/bin/python \
		--constraint requirements-dev.lock --editable .[mutants]
	nice -n 19 $(VENV)-mutants/bin/mutmut run --max-children 1 $(foreach name,$(ONLY),'$(name)')
	$(VENV)-mutants/bin/mutmut results | sed '/: not checked$$/d'

# atheris comes as wheels for these alone, so it has a venv of its own. What OpenAPI leads to is sent last.
FUZZABLE = $(PYTHON) -c "import platform, sys; (3, 12) <= sys.version_info[:2] <= (3, 14) and \
	(sys.platform, platform.machine()) == ('linux', 'x86_64') or sys.exit('The fuzzer, atheris, has \
	wheels for Python 3.12 to 3.14 on Linux and x86-64 only: try make fuzz PYTHON=python3.13.')"
# ONLY=http is the name of a target, or several; SECONDS is for each.
fuzz: SECONDS = 300
fuzz:                ## look for bytes that break their readers, 5 minutes each (SECONDS=, ONLY=), and requests that bring a 5xx
	@$(FUZZABLE)
	@$(INSTALL) dev --venv $(VENV)-fuzz
	@$(VENV)-fuzz/bin/uv pip install --quiet --system-certs --python $(VENV)-fuzz/bin/python \
		--constraint requirements-dev.lock --editable .[fuzz]
	nice -n 19 $(VENV)-fuzz/bin/python -m tests.fuzz --seconds $(SECONDS) $(ONLY)
	$(if $(ONLY),,nice -n 19 $(VENV)-fuzz/bin/python -m tests.fuzz.api --requests 5000)

AUDITOR = $(CHECK) && $(INSTALL) dev && { test -x $(VENV)-audit/bin/pip-audit || { \
	$(PYTHON) -m venv --clear --without-pip $(VENV)-audit && $(BIN)/uv pip install --quiet --system-certs \
	--python $(VENV)-audit/bin/python 'pip-audit>=2.9,<3' 'cyclonedx-bom>=7,<8'; }; }
AUDIT = pip-audit --strict --require-hashes --disable-pip --requirement requirements.lock
audit:               ## known weaknesses of what the image installs, by the index's data
	@$(AUDITOR)
	@said=$$($(VENV)-audit/bin/$(AUDIT) 2>&1); code=$$?; case "$$said" in \
	*"could not be audited"* | *rror:*) echo "The index in reach here has no data on weaknesses: where \
	pypi.org is, run $(AUDIT)" >&2; exit 2;; *) echo "$$said"; exit $$code;; esac

sbom:                ## write sbom.cdx.json, the list of what the image installs, anew from its lock
	@$(AUDITOR)
	sed -e '/--hash=/d' -e 's/ *\\$$//' requirements.lock | $(VENV)-audit/bin/cyclonedx-py requirements \
		--output-reproducible --sv 1.6 --output-file sbom.cdx.json -

releases:            ## name what the service runs on that has had no release for eighteen months
	@$(CHECK)
	@$(PYTHON) tools/releases.py

page: installed-dev  ## take docs/page.png, the picture of the operations page, anew; needs Debian's chromium
	$(BIN)/python tools/page_picture.py

builders: installed-dev ## the images that builds run in; make builders MOVE=1 pins them to their digests of now
	$(BIN)/python tools/builder_images.py $(if $(MOVE),--move)

# checkov pins an old cachetools, so it has a venv of its own.
checkov: installed-dev ## what checkov finds wrong with the build Jobs and the chart, but for exceptions with reasons
	@test -x $(VENV)-checkov/bin/checkov || { $(PYTHON) -m venv --clear --without-pip $(VENV)-checkov && \
		$(BIN)/uv pip install --quiet --system-certs --python $(VENV)-checkov/bin/python 'checkov>=3.3,<4'; }
	$(BIN)/python -m tests.chart.checkov $(VENV)-checkov/bin/checkov

lock: installed-dev  ## move every pinned version to the newest that setup.cfg allows
	echo 'setuptools>=80,<83' | $(COMPILE) --extra otlp --extra postgres --output-file requirements.lock setup.cfg -
	$(COMPILE) --extra otlp --extra postgres --extra dev --extra docs --constraint requirements.lock \
		--output-file requirements-dev.lock requirements.lock setup.cfg
	$(MAKE) sbom

clean:               ## remove everything that make made
	rm -rf $(VENV) $(VENV)-newest $(VENV)-mutants $(VENV)-fuzz $(VENV)-audit $(VENV)-checkov mutants .fuzz build dist docs/_build \
		*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

installed:
	@$(INSTALL) run --venv $(VENV)

installed-dev:
	@$(INSTALL) dev --venv $(VENV)
