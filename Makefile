PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo studio test e2e bench chaos lint format clean

demo: .venv/installed  ## set up everything and run the main job on the sample project
	$(BIN)/refam-backend demo

studio: .venv/installed .label-studio/installed  ## show the sample project in a Label Studio of its own, until Ctrl+C
	@$(BIN)/refam-backend studio

test: .venv/installed .venv/quantize lint  ## set up everything and run all checks and tests
	$(BIN)/pytest
ifneq ($(filter 1 true,$(CI) $(E2E)),)
	$(MAKE) e2e
endif

e2e: .venv/e2e .label-studio/installed  ## in a real Label Studio and a real browser; part of `make test` with CI=true or E2E=1
	$(BIN)/pytest tests/e2e

bench: .venv/installed  ## set up everything, measure, and write build/bench.json
	$(BIN)/python -m tests.bench

# SEED=N repeats a run; STUDIO=real is a short one with Label Studio itself
chaos: .venv/installed $(if $(filter real,$(STUDIO)),.label-studio/installed)  ## kill, freeze and restart everything under load
	$(BIN)/python -m tests.chaos $(if $(SEED),--seed $(SEED)) $(if $(STUDIO),--studio $(STUDIO)) $(if $(MODEL),--model $(MODEL))

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The requirements hold exact pins; --no-deps keeps the project itself from resolving them a second time
.venv/installed: requirements.txt requirements-web.txt requirements-worker.txt requirements-dev.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

# A folder of its own, which only the tests of it look into: see the file
.venv/quantize: requirements-quantize.txt .venv/installed
	$(BIN)/pip install --quiet --disable-pip-version-check --upgrade --target $@ --no-deps -r $<
	touch $@

.label-studio/installed: requirements-label-studio.txt
	$(PYTHON) -m venv .label-studio
	.label-studio/bin/pip install --quiet --disable-pip-version-check -r $<
	touch $@

.venv/e2e: requirements-e2e.txt .venv/installed
	$(BIN)/pip install --quiet --disable-pip-version-check -r $<
	command -v chromium >/dev/null || { apt-get update -qq && apt-get install -qq --no-install-recommends chromium; } \
		|| { echo "Chromium is needed: sudo apt-get install chromium"; exit 1; }
	touch $@

clean:
	rm -rf .venv .label-studio build *.egg-info
