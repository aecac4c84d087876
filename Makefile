# make demo   installs qsift into .venv and runs the main job on real text: FILES="a.txt b.md" QUERY="…"
# make test   the whole test suite        make lint    format, lint and types
# make accel  the plug-in that runs the blocks faster (Linux, x86-64), into .venv
# make bench  how fast it is: ARGS="…"    make clean   removes .venv and what was built
# make docs   all pages into site/        make figures renews their tables and pictures, make pictures the desk's
# The environment is .venv; nothing has to be activated. A second run installs nothing.

VENV := .venv
PYTHON ?= python3
FILES ?= README.md README.zh-CN.md CHANGELOG.md $(wildcard docs/*.md) benchmarks/README.md benchmarks/demo/README.md
QUERY ?=
# Through the environment, so that quotes in it stay what they are.
export QUERY

.PHONY: help demo test lint lint-code lint-types lint-github lint-docs docs figures pictures accel bench clean
.DELETE_ON_ERROR:

help:
	@sed -n '1,6s/^# //p' Makefile

demo: $(VENV)/.installed-demo
	$(VENV)/bin/python benchmarks/demo/two_stage.py $(FILES) $(if $(QUERY),--query "$$QUERY")

test: $(VENV)/.installed-test
	$(VENV)/bin/python -m pytest --numprocesses 2 --dist loadfile

# The parts are the hooks of .pre-commit-config.yaml, too.
lint: lint-code lint-types lint-github lint-docs

lint-code: $(VENV)/.installed-test
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .

lint-types: $(VENV)/.installed-test
	$(VENV)/bin/mypy

FORMS := $(filter-out %/config.yml,$(wildcard .github/ISSUE_TEMPLATE/*.yml))

lint-github: $(VENV)/.installed-test
	$(VENV)/bin/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(VENV)/bin/check-jsonschema --builtin-schema vendor.github-issue-forms $(FORMS)
	$(VENV)/bin/check-jsonschema --builtin-schema vendor.github-issue-config .github/ISSUE_TEMPLATE/config.yml
	$(VENV)/bin/check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml
	$(VENV)/bin/zizmor --offline --quiet .github

# Tables and sentences come from the rows in benchmarks/results; -r writes them, --check compares.
COG := -P -I docs -p "from figures import *" $(shell grep -rlF '[[[cog' docs --include=*.md --include=*.svg)

lint-docs: $(VENV)/.installed-test
	$(VENV)/bin/cog --check $(COG)
	$(VENV)/bin/zensical build --strict

docs: $(VENV)/.installed-docs
	$(VENV)/bin/zensical build --strict --clean
	@echo "Open site/index.html"

figures: $(VENV)/.installed-docs
	$(VENV)/bin/cog -r $(COG)
	$(VENV)/bin/python docs/terminal.py

pictures: $(VENV)/.installed-test
	$(VENV)/bin/python docs/desk_pictures.py

accel: $(VENV)/.installed-accel

bench: $(VENV)/.installed-peers
	$(VENV)/bin/python benchmarks/throughput.py $(ARGS)

clean:
	rm -rf $(VENV) src/*.egg-info build dist site *.egg-info

ACCEL := $(wildcard src/qsift_accel/* src/qsift_accel/*/*)

$(VENV)/.installed-accel: $(ACCEL) $(VENV)/.installed-demo
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check './src/qsift_accel[onednn]'
	@touch $@

$(VENV)/.installed-%: pyproject.toml install.sh $(ACCEL)
	PYTHON="$(PYTHON)" sh ./install.sh $(VENV) $(if $(filter demo,$*),.,'.[$*]')
	@touch $@
