# make setup   everything that the other two need; costs nothing when repeated
# make demo    the whole path, from sample videos to a report
# make test    ruff, mypy and all tests
# make docs    the documentation as a site, in site/
# make figures which figures in docs/measurements.md are older than the code that they measure
#
# Variables:
#   PYTHON=python3.12        the interpreter of the virtual environment (3.11 or later)
#   TORCH_INDEX=URL          a package index for torch alone, such as https://download.pytorch.org/whl/cpu
#   DEMO_OUT=DIR             where the demo writes (demo-out)

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TORCH_INDEX ?=
DEMO_OUT ?= demo-out
APT_PACKAGES := libegl1 libegl-mesa0 libgles2 libgl1 libgl1-mesa-dri libglib2.0-0
SUDO_LINE := sudo apt-get update && sudo apt-get install -y

.PHONY: setup demo test lint docs figures models system

demo: setup
	$(BIN)/raymaskdp demo --out $(DEMO_OUT)

# Tests that start clusters mostly wait, for processes to start and for losses to be noticed: two at a time,
# however many cores there are, handed out one by one (loadgroup without groups). They come last, because they
# count CPUs.
test: setup lint
	$(BIN)/python -m pytest -m "not cluster" -n logical --maxprocesses 8 --dist loadfile --durations=20 --durations-min=5; first=$$?; \
	  $(BIN)/python -m pytest -m cluster -n 2 --dist loadgroup --durations=20 --durations-min=5 && exit $$first

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

docs: setup
	$(BIN)/python -m pip install --progress-bar off --disable-pip-version-check -q -c constraints.txt -e '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

figures:
	$(PYTHON) docs/older_figures.py

setup: $(VENV)/.installed system models

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "raymaskdp needs Python 3.11 or later; name one with: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  package=$$($(PYTHON) -c 'import sys; print(f"python{sys.version_info[0]}.{sys.version_info[1]}-venv")'); \
	  if [ "$$(id -u)" = 0 ]; then apt-get update && apt-get install -y --no-install-recommends $$package; \
	  else echo "Python's venv module is missing. Type:  $(SUDO_LINE) $$package"; exit 1; fi; }
	$(PYTHON) -m venv $(VENV)

# The interpreter is order-only: pip touches nothing that should start an installation anew.
$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(if $(TORCH_INDEX),$(BIN)/python -m pip install -c constraints.txt torch --index-url $(TORCH_INDEX))
	$(BIN)/python -m pip install --progress-bar off --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

# OpenGL without a screen (EGL), for rendering and for mediapipe, with a driver behind it.
system: | $(VENV)/bin/python
	@$(PYTHON) -c 'import ctypes, glob, sys; [ctypes.CDLL(n) for n in sys.argv[1:]]; \
	    sys.exit(not glob.glob("/usr/share/glvnd/egl_vendor.d/*") + glob.glob("/etc/glvnd/egl_vendor.d/*"))' \
	    libEGL.so.1 libGLESv2.so.2 libGL.so.1 libgthread-2.0.so.0 2>/dev/null || { \
	  if [ "$$(id -u)" = 0 ]; then apt-get update && apt-get install -y --no-install-recommends $(APT_PACKAGES); \
	  else echo "OpenGL (EGL) libraries are missing. Type:  $(SUDO_LINE) $(APT_PACKAGES)"; exit 1; fi; }

models: $(VENV)/.installed system
	@$(BIN)/raymaskdp models pull --quiet
