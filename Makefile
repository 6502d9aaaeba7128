# Everything a person does with this project. Each target says what it is for: `make help`.
.DEFAULT_GOAL := help
.SUFFIXES:
SHELL := /bin/sh

# The first Python on this machine that is new enough; `make PYTHON=python3.13 install` chooses another.
PYTHON ?= $(firstword $(foreach p,python3 python3.13 python3.12 python3.11,$(shell $(p) -c \
	'import sys; sys.version_info >= (3, 11) and print("$(p)")' 2>/dev/null)) no-python-3.11-or-newer)

BIN := .venv/bin
CLIP := src/upscale_server/clips/nasa.mp4
# More workers than cores in the fast tier: its tests often wait for the end of a server or for a limit.
TEST_WORKERS ?= 2
FAST_WORKERS ?= 4
# The attacks wait for outages, leases and slow clients more than they compute; who is free takes the next one.
HOSTILE_WORKERS ?= 3
# What the fast tier is chosen from: the other folders' tests open real files or start servers.
FAST_TESTS = tests/unit tests/contract tests/property
# A test that holds the interpreter's lock for ever can only be ended from outside; so many seconds after its start.
HANGS = -o faulthandler_exit_on_timeout=true -o faulthandler_timeout
MINUTES ?= 20
WORK ?= out/train
# What skips without torch, which `make test` does not install: it is 200 MB, with CUDA gigabytes.
TORCH_TESTS = $(sort $(wildcard tests/*/test_torch*.py tests/*/*/test_torch*.py tests/contract/test_upscaler.py tests/integration/test_server.py))
TSDSR_TESTS = $(sort $(wildcard tests/*/test_tsdsr*.py tests/*/*/test_tsdsr*.py))

# Some machines forbid Python to keep compiled modules; every worker and command of the tests would compile them again.
unexport PYTHONDONTWRITEBYTECODE

# uv does not read pip's settings: hand it pip's folders of wheels, except those that are not there.
space := $(subst ,, )
comma := ,
LINKS := $(foreach d,$(PIP_FIND_LINKS),$(if $(or $(findstring ://,$(d)),$(wildcard $(d))),$(d)))
export UV_FIND_LINKS ?= $(subst $(space),$(comma),$(strip $(LINKS)))

# uv is fast but not everywhere obtainable; pip does the same slowly.
define install
	@if [ -x $(BIN)/uv ] && $(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt -e '.$(1)'; then :; \
	else echo 'uv did not do it; installing with pip'; \
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.$(1)'; fi
	@touch $@
endef

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: install
install: .venv/.installed ## make .venv with the command .venv/bin/upscale

.venv/.made:
	@$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11)' \
	|| { echo 'Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11 install' >&2; exit 1; }
	@$(BIN)/python -c '' 2>/dev/null || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv \
	|| echo 'uv is not obtainable here; pip will be used'
	@touch $@

.venv/.installed: .venv/.made pyproject.toml constraints.txt
	$(call install,)

.venv/.test: .venv/.installed
	$(call install,[test])

.venv/.dev: .venv/.test
	$(call install,[dev])

.venv/.bench: .venv/.test
	$(call install,[bench])

.venv/.train: .venv/.test
	$(call install,[train])

.venv/.torch: .venv/.test
	$(call install,[torch])

.venv/.tsdsr: .venv/.test
	$(call install,[tsdsr])

.PHONY: run
run: install ## upscale the bundled clip with the built-in network and prove that nothing was lost
	@mkdir -p out
	$(BIN)/upscale video $(CLIP) -o out/nasa_2x.mp4 --scale 2 -y
	$(BIN)/upscale verify $(CLIP) out/nasa_2x.mp4
	@$(BIN)/python examples/before_after.py $(CLIP) out/nasa_2x.mp4 out/before-after.png
	@echo 'the upscaled clip is out/nasa_2x.mp4; `upscale verify` compared it with the source, rule by rule, above;'
	@echo 'out/before-after.png shows one frame: bicubic enlargement on the left, the network on the right'

# A real S3 server (OpenStack Swift) in an environment of its own: it wants other versions of what we use.
.venv-swift/.made: constraints.txt
	@{ $(PYTHON) -m venv .venv-swift && .venv-swift/bin/python -m pip install --quiet --disable-pip-version-check \
	-c constraints.txt swift pyeclib && touch $@; } \
	|| echo 'there is no S3 server for the tests here; what needs one will be skipped'

.PHONY: test
test: .venv/.test .venv-swift/.made ## run every test: the fast tier first, then the tier on real files
	$(BIN)/python -m pytest -n $(FAST_WORKERS) $(HANGS)=330 -m 'not slow' $(FAST_TESTS)
	$(BIN)/python -m pytest -n $(TEST_WORKERS) $(HANGS)=900 -m 'integration or slow'

.PHONY: test-fast
test-fast: .venv/.test ## run the fast tier only (two minutes on two cores)
	$(BIN)/python -m pytest -n $(FAST_WORKERS) -m 'not slow' $(FAST_TESTS)

.PHONY: test-hostile
test-hostile: .venv/.test .venv-swift/.made ## attack the servers for a quarter of an hour
	HOSTILE=full $(BIN)/python -m pytest -n $(HOSTILE_WORKERS) --maxschedchunk=1 $(HANGS)=900 tests/hostile

.PHONY: test-hostile-long
test-hostile-long: .venv/.test .venv-swift/.made ## attack them without limit; the figures go to benchmarks/results/hostile
	HOSTILE=long $(BIN)/python -m pytest -n $(TEST_WORKERS) $(HANGS)=14400 tests/hostile

.PHONY: test-torch
test-torch: .venv/.torch ## install the extra [torch] and run the tests of its engine, which `make test` skips without it
	$(BIN)/python -m pytest -n $(TEST_WORKERS) $(TORCH_TESTS)

.PHONY: test-tsdsr
test-tsdsr: .venv/.tsdsr ## install the extra [tsdsr] and run TSD-SR's tests, which `make test` skips without it
	$(BIN)/python -m pytest -n $(TEST_WORKERS) $(TSDSR_TESTS)

.PHONY: check
check: .venv/.dev fmt-check lint types imports ## everything that needs no running: format, lint, types, imports

.PHONY: fmt
fmt: .venv/.dev ## format the code in place
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix-only .

.PHONY: fmt-check
fmt-check: .venv/.dev ## say which files are not formatted
	$(BIN)/ruff format --check .

.PHONY: lint
lint: .venv/.dev ## check style and likely mistakes (ruff, all rules less a reasoned list)
	$(BIN)/ruff check .

.PHONY: types
types: .venv/.dev ## check the types (mypy, strict)
	$(BIN)/mypy

.PHONY: imports
imports: .venv/.dev ## check that imports point down and each framework has one address
	$(BIN)/lint-imports --no-logo

.PHONY: bench
bench: .venv/.bench ## measure speed and memory; results go to benchmarks/results
	@for script in benchmarks/bench_*.py benchmarks/sim_*.py; do echo "== $$script"; \
	$(BIN)/python -m benchmarks.$$(basename $$script .py) || exit 1; done

.PHONY: train
train: ## train a network: make train MODEL=fast-clean DATA=folder [MINUTES=20] [WORK=out/train]
	@test -n '$(MODEL)' -a -n '$(DATA)' \
	|| { echo 'say which and from what: make train MODEL=fast-clean DATA=path/to/images MINUTES=20' >&2; exit 2; }
	@$(MAKE) --no-print-directory .venv/.train
	$(BIN)/python -m training.train $(MODEL) --data $(DATA) --work $(WORK) --minutes $(MINUTES)
	$(BIN)/python -m training.export $(MODEL) --work $(WORK) --out $(WORK)/models
	@echo 'the network and its card are in $(WORK)/models'

.PHONY: docs
docs: .venv/.test ## write the pages of docs/reference from the code
	$(BIN)/python -m docs.reference.generate

# In an environment of its own, so that the list holds nothing of what makes it.
.venv-sbom/.made: constraints.txt
	$(PYTHON) -m venv .venv-sbom
	.venv-sbom/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt cyclonedx-bom
	@touch $@

.PHONY: sbom
sbom: .venv/.installed .venv-sbom/.made ## list every package that is installed, with version and licence (CycloneDX), for a release
	@mkdir -p out
	.venv-sbom/bin/cyclonedx-py environment --pyproject pyproject.toml --mc-type application --of JSON \
	-o out/sbom.cdx.json $(BIN)/python
	@echo 'the list is out/sbom.cdx.json'

.PHONY: release
release: sbom ## put a release into dist: the wheel, the list of what it runs with, and their SHA-256
	@rm -rf dist && mkdir dist
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps -w dist .
	@cp out/sbom.cdx.json dist/
	@cd dist && sha256sum * > SHA256SUMS && cat SHA256SUMS

.PHONY: constraints
constraints: .venv/.dev ## renew the resolved part of constraints.txt (needs uv)
	@mkdir -p out
	@$(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --upgrade --quiet --no-annotate --no-header \
	--no-emit-index-url --extra dev --extra onnxruntime --extra s3 --extra postgres --extra quality --extra bench -o out/constraints.txt
	@{ sed -n '1,/^$$/{/^#/p}' constraints.txt; cat out/constraints.txt; sed -n '/^$$/,$$p' constraints.txt; } > out/new.txt
	@mv out/new.txt constraints.txt

.PHONY: clean
clean: ## remove what was built: .venv, .venv-swift, .venv-sbom, out and the caches
	rm -rf .venv .venv-swift .venv-sbom out dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
