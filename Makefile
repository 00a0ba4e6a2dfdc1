# `make run` and `make test` set everything up and do what they say: nothing but Python is needed first.

PYTHON ?= python3
VENV ?= .venv
python := $(VENV)/bin/python
pip := $(python) -m pip --disable-pip-version-check

.PHONY: run test check setup lock clean

run: setup  ## the main job; options go in ARGS, as in `make run ARGS="--preset smoke"`
	$(python) -m experiments.forward_grad $(ARGS)

test: setup  ## the tests; ARGS again, as in `make test ARGS="tests/test_stats.py -x"`
	$(python) -m pytest --numprocesses=2 --dist=loadfile $(ARGS)

check: setup  ## the linter and the formatter, changing nothing
	$(python) -m ruff check .
	$(python) -m ruff format --check .

setup: $(VENV)/installed

# Two stamps, so that an edit of pyproject.toml does not make pip look at every dependency again.
$(VENV)/installed: pyproject.toml $(VENV)/requirements
	@$(pip) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

# The build backend comes first and by itself: one dependency (promise) has no wheel, and without
# isolation it is built by the backend that is pinned here rather than by the newest there is.
# The list is complete (make lock), so pip has nothing to resolve: --no-deps.
$(VENV)/requirements: requirements.txt | $(VENV)/bin/pip
	@echo "Installing the packages of requirements.txt into $(VENV): a few minutes, once."
	@sed -n '/^setuptools==/,/[^\\]$$/p' $< > $(VENV)/build-requirements.txt
	@$(pip) install --quiet --no-deps --require-hashes --requirement $(VENV)/build-requirements.txt
	@$(pip) install --quiet --no-deps --require-hashes --no-build-isolation --requirement $<
	@touch $@

$(VENV)/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { \
	  echo "jaxtrends needs Python 3.11, 3.12 or 3.13, and $(PYTHON) is" \
	    "$$($(PYTHON) --version 2>&1): name another, as in make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)

lock: setup  ## pin every dependency again in requirements.txt, for all Pythons and platforms
	@$(pip) install --quiet uv
	$(VENV)/bin/uv pip compile pyproject.toml --extra dev --extra text --extra wandb-view --universal \
	  --python-version 3.11 --python $(python) --upgrade --generate-hashes --no-header \
	  --no-emit-index-url --quiet --output-file requirements.txt

clean:  ## forget the virtual environment
	rm -rf $(VENV)
