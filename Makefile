# What you need: make and Python 3.11 or newer. Everything else goes into the folder $(VENV).
VENV ?= .venv
PYTHON ?= $(shell for name in python3 python3.13 python3.12 python3.11 python3.14; do \
	$$name -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' >/dev/null 2>&1 \
	&& { echo $$name; break; }; done)
PROMPT ?= a large red ball rolls into a small blue box
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e

.PHONY: help setup demo test check format docs bench clean

help:
	@echo "make demo    words to video: sets up $(VENV) and writes demo.mp4 and demo.png"
	@echo "make setup   everything for development in $(VENV)"
	@echo "make test    the tests          make check   lint, format, types, import contract"
	@echo "make format  tidy the sources   make bench   the benchmarks"
	@echo "make docs    the help pages     make clean   remove $(VENV)"

demo: $(VENV)/installed
	$(BIN)/worldtube generate "$(PROMPT)" --seconds 2 --seed 7 --out demo.mp4 --strip demo.png
	@echo "The video is $(CURDIR)/demo.mp4, its frames side by side are $(CURDIR)/demo.png"

setup: $(VENV)/installed-dev

# A process more than cores: many tests wait for servers and other processes.
test: $(VENV)/installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $$($(BIN)/python -c "import os; print(1 + os.cpu_count())") \
		--dist loadfile --no-loadscope-reorder

check: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/ty check --python $(VENV)
	$(BIN)/lint-imports

format: $(VENV)/installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/installed-dev
	$(BIN)/python docs/regenerate.py

bench: $(VENV)/installed-dev
	@for script in $$(grep -L "required=True" benchmarks/*.py | grep -v text_scale); do echo "$$script"; $(BIN)/python $$script || exit 1; done

clean:
	rm -rf $(VENV)

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "worldtube needs Python 3.11 to 3.14, and none is on the PATH"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "This Python cannot make environments. On Debian and Ubuntu: sudo apt install" \
		"$$($(PYTHON) -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')"; exit 1; }
	@echo "Installing into $(VENV), about 1 GB with PyTorch: some minutes the first time"
	$(PYTHON) -m venv $(VENV)

# Bytecode is written once here: commands start faster, also where Python is told to write none.
COMPILE := $(BIN)/python -m compileall -q src

$(VENV)/installed: $(BIN)/python pyproject.toml constraints.txt
	$(INSTALL) .
	@$(COMPILE)
	@touch $@

$(VENV)/installed-dev: $(BIN)/python pyproject.toml constraints.txt
	$(INSTALL) '.[dev,worlds,eval,serve,data,ray,diffusers]'
	@$(COMPILE)
	@touch $@ $(VENV)/installed
