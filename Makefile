# make demo    a mounted modfs at work: several shells race requests, cat stats before and after
# make test    all checks and tests
# make test-packages   the wheel and the Debian package: built, installed, used (needs the network)
# make test-kernels    boots Debian's own kernels under QEMU and watches them (KERNELS='6.1 6.12 7.3')
# make test-pictures   pages in a real browser, alerts and dashboards by promtool (needs the network)
# make record  boots a kernel under QEMU, asks it and writes what it answered, for modfs verify
#              (KERNEL=6.12 or source:6.12 or a file or folder, SEEDS='1 2'): tools/record/README.md
# make boots   boots Debian's kernels with udevd under QEMU and records the boots that are not there
#              (ONLY='6.1-8-* 7.3-4-1', OUT=folder): tools/boots/README.md
# make fuzz    damaged inputs for every parser, ten minutes long (MINUTES=60 SEED=1 ONLY='zstd tree')
# make soak    clients, mishaps and shortages on one mount, ten minutes long (MINUTES=1440); as root
# make bench   the measurements (ONLY=name for one of them; JSON=file keeps them, BASE=file compares)
# make docs    the documentation as a site, in site/index.html
# make lint    the checks alone
# make clean   removes what the others made
#
# Each sets up what it needs first: see tools/setup.sh.

export PYTHON
ARGS =
MINUTES = 10
KERNELS = 6.12 7.3

.PHONY: help docs demo test test-packages test-kernels test-pictures record boots lint fuzz soak bench clean
.DEFAULT_GOAL := help

help:
	@sed -n 's/^# \{0,1\}//p; /^$$/q' Makefile

demo:
	@tools/setup.sh run
	@PATH="$(CURDIR)/.venv/bin:$$PATH" examples/demo.sh

lint:
	@tools/setup.sh test
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

test: lint
	.venv/bin/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(ARGS)

test-packages:
	@tools/setup.sh packages
	MODFS_TEST_PACKAGES=1 .venv/bin/python -m pytest tests/packages

test-kernels:
	@tools/setup.sh kernels
	MODFS_TEST_KERNELS='$(KERNELS)' .venv/bin/python -m pytest --timeout 1200 tests/kernels $(ARGS)

test-pictures:
	@tools/setup.sh pictures
	.venv/bin/python -m pytest tests/browser tests/modfs/pictures tests/modfs/export $(ARGS)

record:
	@tools/setup.sh $(if $(findstring source:,$(KERNEL)),kernel-sources,kernels)
	.venv/bin/python -m tools.record $(if $(SEEDS),--seeds '$(SEEDS)') \
	    $(if $(OUT),--out '$(OUT)') $(ARGS) '$(KERNEL)'

boots:
	@tools/setup.sh kernels
	.venv/bin/python -m tools.boots $(if $(OUT),--folder '$(OUT)') record $(if $(ONLY),'$(ONLY)')

fuzz:
	@tools/setup.sh test
	.venv/bin/python -m tests.fuzz --minutes $(MINUTES) $(if $(SEED),--seed $(SEED)) \
	    $(if $(REPLAY),--replay $(REPLAY)) $(ONLY)

soak:
	@tools/setup.sh test
	.venv/bin/python -m tests.soak --minutes $(MINUTES)

bench:
	@tools/setup.sh bench
	.venv/bin/python -m tests.bench $(ONLY) $(if $(JSON),--json '$(JSON)') $(if $(BASE),--base '$(BASE)')

docs:
	@tools/setup.sh docs
	NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --quiet --strict

clean:
	rm -rf .venv site .mypy_cache .pytest_cache .ruff_cache .hypothesis tests/bench/.cache tests/fuzz/findings \
	    tests/kernels/.cache tools/record/.cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
