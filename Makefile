# The menu.  All of it runs in a virtual environment of its own, ./.venv, made on first use; nothing
# is needed but Python (3.11 or later), make and a package index (pip's settings are honoured).
PYTHON ?= python3
# What "make run" listens on and where it keeps its objects; ARGS are further options.
LISTEN ?= 127.0.0.1:8080
ROOT ?= ./cache
# What "make test" runs: any names trial understands; of several packages a module each by turns, so that tests
# that calculate run beside those that wait. JOBS modules of them run at a time, three more than there are
# processors, since many wait now and then; ARGS are for tests/__main__.py.
TESTS ?= tests.bounds tests.integration tests.contract tests.unit
PROCESSORS := $(shell nproc 2>/dev/null || getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)
JOBS ?= $(shell echo $$(($(PROCESSORS) + 3)))
# What "make fuzz" runs: where examples are generated.
FUZZED = $(if $(filter file,$(origin TESTS)),$(subst /,.,$(basename $(shell grep -rl --include='test_*.py' '^from hypothesis' tests/integration tests/unit))),$(TESTS))

# Otherwise each of a hundred processes would compile what it imports.
unexport PYTHONDONTWRITEBYTECODE

VENV := .venv
PY := $(VENV)/bin/python
# What was installed from these has to be installed again when they change.
METADATA := pyproject.toml setup.py oci_registry/_version.py

.PHONY: help run test fuzz lint format types e2e browser soak bench bench-compare simulate chart image-root lock docs clean
.DEFAULT_GOAL := help

help:
	@echo "make run      the daemon on $(LISTEN), with its objects in $(ROOT)"
	@echo "make test     all tests but those below, $(JOBS) at a time; TESTS=\"tests.unit.web\""
	@echo "make fuzz     generated tests with other and more examples; TESTS, ARGS, SEED=1 to repeat"
	@echo "make lint     ruff, the rules for imports between packages, news fragments"
	@echo "make format   fix what ruff can fix"
	@echo "make types    mypy, strictly"
	@echo "make docs     the documentation as a site in build/docs; links lead somewhere, commands work"
	@echo "make e2e      real clients against real registries; see tests/e2e/README.md"
	@echo "make browser  the status page in Chromium, which has to be installed; pictures in build/screenshots"
	@echo "make soak     many clients, bad hosts and a full disk for a minute; ARGS=\"--minutes 10 --cap 0.1\""
	@echo "make bench    what hits and misses cost, beside nginx and distribution; ARGS=--quick"
	@echo "make bench-compare  two results or two source trees; OLD=a.json NEW=b.json"
	@echo "make chart    the chart for Kubernetes; needs Go, to build helm and kubeconform"
	@echo "make image-root  what the Dockerfile makes, without an engine, and the daemon in it; needs root"
	@echo "make lock     record the current versions of the packages in the image"
	@echo "make clean    remove what the above left, but not $(ROOT)"

run: $(VENV)/.installed
	$(PY) -m oci_registry --listen "$(LISTEN)" $(ARGS) filesystem --root "$(ROOT)"

test: $(VENV)/.installed-test
	$(PY) -m tests --jobs=$(JOBS) $(ARGS) $(TESTS)

# The seed is shown first: with it, and the same TESTS, the examples are the same.
fuzz: $(VENV)/.installed-test
	@seed=$${SEED:-$$($(PY) -c 'import secrets; print(secrets.randbits(32))')}; \
	echo "to repeat this: make fuzz SEED=$$seed"; \
	HYPOTHESIS_PROFILE=fuzz HYPOTHESIS_SEED=$$seed \
		$(PY) -m tests --jobs=$(JOBS) $(ARGS) $(FUZZED)

lint: $(VENV)/.installed-dev
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(VENV)/bin/lint-imports --no-logo
	$(PY) -m towncrier build --draft >$(VENV)/changelog.md

format: $(VENV)/.installed-dev
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

types: $(VENV)/.installed-dev
	$(PY) -m mypy

docs: $(VENV)/.installed-dev
	$(PY) tools/check_docs.py
	$(PY) -m sphinx --fail-on-warning --nitpicky --quiet --fresh-env docs build/docs
	$(PY) -m twisted.trial tests.docs

e2e: $(VENV)/.installed-test
	$(PY) -m tests.e2e $(ARGS)

browser: $(VENV)/.installed-browser
	$(PY) -m twisted.trial $(ARGS) tests.browser

soak: $(VENV)/.installed-test
	$(PY) -m tests.soak $(ARGS)

bench: $(VENV)/.installed
	$(PY) -m benchmarks $(ARGS)

# OLD and NEW: files with results, or source trees, which are measured by turns in one run.
bench-compare: $(VENV)/.installed
	$(PY) -m benchmarks compare $(ARGS) "$(OLD)" "$(NEW)"

# TRACE: an access log in JSON lines; without it, a trace is made up.
simulate: $(VENV)/.installed
	$(PY) -m tools.simulate $(ARGS) $(TRACE)

chart: $(VENV)/.installed-test
	$(PY) -m tools.chart
	$(PY) -m twisted.trial tests.chart

image-root: $(VENV)/.installed
	$(PY) -m tools.image

# What is installed, and what builds the wheel; --upgrade, since a lock is renewed or left alone.
COMPILE = $(VENV)/lock/bin/pip-compile --quiet --upgrade --generate-hashes --strip-extras \
	--allow-unsafe --no-emit-index-url --no-emit-trusted-host --no-emit-find-links

lock: | $(PY)
	$(PYTHON) -m venv $(VENV)/lock
	$(VENV)/lock/bin/pip install --quiet 'pip-tools>=7.5'
	CUSTOM_COMPILE_COMMAND='make lock' $(COMPILE) --extra cli --extra s3 --output-file requirements.lock pyproject.toml
	CUSTOM_COMPILE_COMMAND='make lock' $(COMPILE) --all-build-deps --only-build-deps \
		--output-file requirements-build.lock pyproject.toml

clean:
	rm -rf $(VENV) build dist *.egg-info _trial_temp* .hypothesis .mypy_cache .ruff_cache
	rm -rf .import_linter_cache twisted/plugins/dropin.cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(PY):
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or later is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)

# Three sizes of the same environment: to run it, to test it, to work on it. What the last two hold is
# compiled when it is first imported: most of it never is.
$(VENV)/.installed: $(METADATA) | $(PY)
	$(PY) -m pip install --quiet --editable '.[cli,s3]'
	@touch $@

$(VENV)/.installed-test: $(METADATA) | $(PY)
	$(PY) -m pip install --quiet --no-compile --editable '.[test]'
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-browser: $(METADATA) | $(PY)
	$(PY) -m pip install --quiet --no-compile --editable '.[browser]'
	@touch $@ $(VENV)/.installed-test $(VENV)/.installed

$(VENV)/.installed-dev: $(METADATA) | $(PY)
	$(PY) -m pip install --quiet --no-compile --editable '.[dev]'
	@touch $@ $(VENV)/.installed-test $(VENV)/.installed
