# `make run` and `make test` are all that a new machine needs (Python >= 3.11 and make).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PYTHONDONTWRITEBYTECODE := 1

.PHONY: help run test check bench drill lock format clean
help:            ## what can be made
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

# The stamps hold the locks' digests: an unchanged environment costs nothing, a changed one is brought up to date.
$(VENV)/run.stamp: requirements.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing what Gwanje needs (once) / 필요한 패키지를 설치합니다 (처음 한 번)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@
$(VENV)/dev.stamp: $(VENV)/run.stamp requirements-dev.lock
	@echo "installing what the tests need (once)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@

run: $(VENV)/run.stamp   ## a whole control center with a synthetic city, on http://127.0.0.1:8000
	@exec $(BIN)/gwanje demo
test: $(VENV)/dev.stamp  ## all tests, against real PostgreSQL, real ffmpeg and simulated cameras
	@$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder
check: $(VENV)/dev.stamp ## format, lint, types, floors, tests
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(MAKE) --no-print-directory test
bench: $(VENV)/dev.stamp ## ratios of the hot paths, side by side with their floors
	@for b in grants growth near city_map imports reach first_frame edge viewers cutting callback sequencer feed fanout audit audited_grants; do $(BIN)/python -m bench.$$b || exit 1; done
drill: $(VENV)/dev.stamp ## long fault drills
	@$(BIN)/python -m pytest -m drill --timeout 3600
format: $(VENV)/dev.stamp
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .
lock:            ## pin every dependency by hash (needs uv)
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --group build pyproject.toml -o requirements.lock
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --group build --group dev pyproject.toml -o requirements-dev.lock
clean:
	rm -rf $(VENV)
