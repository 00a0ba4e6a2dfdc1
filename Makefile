# `make run` and `make test` install what they need. Only Python is required.

PYTHON ?= python3
VENV ?= .venv
python := $(VENV)/bin/python
pip := $(python) -m pip --disable-pip-version-check

.PHONY: run test check setup lock clean

run: setup  ## run forward_grad; options go in ARGS, as in `make run ARGS="--preset smoke"`
	$(python) -m experiments.forward_grad $(ARGS)

test: setup  ## run the tests; also takes ARGS, as in `make test ARGS="tests/test_stats.py -x"`
	$(python) -m pytest --numprocesses=2 --dist=loadfile $(ARGS)

check: setup  ## run the linter and the formatter without changing files
	$(python) -m ruff check .
	$(python) -m ruff format --check .

setup: $(VENV)/installed

# There are two stamps, so an edit of pyproject.toml does not make pip check all dependencies again.
$(VENV)/installed: pyproject.toml $(VENV)/requirements
	@$(pip) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

# The build backend is installed first: one dependency (promise) has no wheel, and without isolation
# it is built by the backend pinned here rather than by the newest one.
# The list is complete (make lock), so pip resolves nothing: --no-deps.
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

clean:  ## remove the virtual environment
	rm -rf $(VENV)
