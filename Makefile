# make demo   installs qsift into .venv and runs the main job on real text
# make test   the whole test suite        make lint   format, lint and types
# The environment is .venv; nothing has to be activated. A second run installs nothing.

VENV := .venv
PYTHON ?= python3
FILES ?= README.md CHANGELOG.md
QUERY ?= How do I turn a checkpoint into a GGUF file?

.PHONY: demo test lint clean help
.DELETE_ON_ERROR:

help:
	@sed -n '1,3s/^# //p' Makefile

demo: $(VENV)/.installed-demo
	$(VENV)/bin/python benchmarks/demo_random.py --query "$(QUERY)" $(FILES)

test: $(VENV)/.installed-test
	$(VENV)/bin/python -m pytest

lint: $(VENV)/.installed-test
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

clean:
	rm -rf $(VENV) build src/*.egg-info

$(VENV)/.installed-%: pyproject.toml install.sh
	PYTHON=$(PYTHON) sh ./install.sh $(VENV) $*
	@touch $@
