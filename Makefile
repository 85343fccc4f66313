# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PACKAGES := gcc gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-system-arm

.PHONY: setup tools demo test test-slow lint calibrate bench bench-kernels bench-models bench-table bench-planner bench-paper bench-cost bench-cycles bench-mutations readme clean
setup: $(VENV)/ready tools

# Python packages, a Cortex-M compiler (ziglang) and an emulator (unicorn) among them.
$(VENV)/ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[dev,emulator,toolchain,verify]'
	@touch $@

# Arm GCC and QEMU where apt may install them; without them everything runs on ziglang and unicorn.
# VMCU_NO_APT=1 leaves the system alone.
tools:
	@if [ -n "$$VMCU_NO_APT" ] || { command -v arm-none-eabi-gcc && command -v qemu-system-arm; } >/dev/null; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(PACKAGES); } \
	        >/dev/null 2>&1 || echo "apt could not install $(PACKAGES): going on without"; \
	else echo "no Arm GCC or QEMU (to get them: apt install $(PACKAGES)); using ziglang and unicorn"; fi

demo: setup
	$(BIN)/python models/demo.py

test: setup lint
	$(BIN)/python -m pytest -q -n 2 -m "not slow and not board"

test-slow: setup
	$(BIN)/python -m pytest -q -n 2 -m slow

lint: setup
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy

# Measures everything; each part can be run alone. Exact instruction counts, never times.
bench: bench-kernels bench-models bench-table bench-planner bench-paper bench-cost bench-cycles bench-mutations

# Both print what differs from bench/results/*.json, which `python -m bench.kernels --update` renews.
bench-kernels: setup
	$(BIN)/python -m bench.kernels --compare

bench-models: setup
	$(BIN)/python -m bench.models_table --compare

bench-table bench-planner bench-paper bench-cost bench-cycles bench-mutations: bench-%: setup
	$(BIN)/python -m bench.$*

# Renews the planner's cost of plain kernels, targets/rates.toml.
calibrate: setup
	$(BIN)/python -m bench.cost --update

# The command lines README shows, run again.
readme: setup
	$(BIN)/python docs/refresh_readme.py

clean:
	rm -rf $(VENV) build .pytest_cache .mypy_cache .ruff_cache .hypothesis
