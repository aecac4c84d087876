# make demo   installs qsift into .venv and runs the main job on real text: FILES="a.txt b.md" QUERY="…"
# make test   the whole test suite        make lint    format, lint and types
# make accel  the plug-in that runs the blocks with oneDNN (Linux, x86-64), into .venv
# make bench  how fast it is: ARGS="…"    make clean   removes .venv and what was built
# The environment is .venv; nothing has to be activated. A second run installs nothing.

VENV := .venv
PYTHON ?= python3
FILES ?= README.md CHANGELOG.md benchmarks/README.md benchmarks/demo/README.md
QUERY ?=
# Through the environment, so that quotes in it stay what they are.
export QUERY

.PHONY: help demo test lint lint-code lint-types lint-github accel bench clean
.DELETE_ON_ERROR:

help:
	@sed -n '1,5s/^# //p' Makefile

demo: $(VENV)/.installed-demo
	$(VENV)/bin/python benchmarks/demo/two_stage.py $(FILES) $(if $(QUERY),--query "$$QUERY")

test: $(VENV)/.installed-test
	$(VENV)/bin/python -m pytest

# The parts are the hooks of .pre-commit-config.yaml, too.
lint: lint-code lint-types lint-github

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

accel: $(VENV)/.installed-accel

bench: $(VENV)/.installed-peers
	$(VENV)/bin/python benchmarks/throughput.py $(ARGS)

clean:
	rm -rf $(VENV) build dist *.egg-info

ACCEL := $(wildcard src/qsift_accel/* src/qsift_accel/*/*)

$(VENV)/.installed-accel: $(ACCEL) $(VENV)/.installed-demo
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check ./src/qsift_accel
	@touch $@

$(VENV)/.installed-%: pyproject.toml install.sh $(ACCEL)
	PYTHON="$(PYTHON)" sh ./install.sh $(VENV) $(if $(filter demo,$*),.,'.[$*]')
	@touch $@
