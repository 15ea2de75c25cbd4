# Everything is done in .venv, with the package installed as a user would have it (not
# editable): `make test` and `make lint` look at that copy, from outside the checkout.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# The first that starts (a pyenv shim may stand for a version that is not there).
PYTHON ?= $(shell for name in python3.11 python3.12 python3.13 python3; do \
	"$$name" -c '' 2>/dev/null && command -v "$$name" && break; done)
ROOT := $(CURDIR)
VENV := $(ROOT)/.venv
BIN := $(VENV)/bin
CONSTRAINTS := requirements/constraints.txt
# Debian and Python packages for arm64, about 0.8 GB; kept between runs.
ARM64_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/qlvit-edge-arm64

# The package whose newest pre-release `make nightly` tries.
NIGHTLY ?= ai-edge-litert-nightly

# What the installed package is made of; a change reinstalls it (without dependencies).
SOURCES := $(shell find qlvit_edge converters calibration -type f -not -path '*/__pycache__/*' \
	-not -name '* *')
DEPENDENCIES_STAMP := .venv/.dependencies
PACKAGE_STAMP := .venv/.package

# Run the tests against the installed package: nothing of the checkout is on the path.
PYTEST = outside=$$(mktemp -d) && trap 'rm -rf "$$outside"' EXIT && cd "$$outside" && \
	env -u PYTHONPATH QLVIT_EDGE_TESTED=installed OMP_NUM_THREADS=1 "$(BIN)/pytest" \
	-c "$(ROOT)/pyproject.toml" --rootdir "$(ROOT)" -p no:cacheprovider "$(ROOT)/tests"

.PHONY: help env wheel wheelhouse demo test test-slow test-firmware test-onnx2tf test-picamera2 test-device onnx2tf-env peers-env \
	lint bench fuzz arm64 arm64-validate record nightly cortex lock audit clean

help:  ## show this
	@grep -hE '^[a-z0-9-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 16

env: $(PACKAGE_STAMP)  ## make .venv with everything installed (Python 3.11 to 3.13)

# Built aside and moved, so that a build that is cut short leaves no wheel behind.
wheel: $(PACKAGE_STAMP)  ## build dist/*.whl, what firmware_scripts/install.sh installs, and the sdist
	@rm -rf build dist.new
	mkdir dist.new
	"$(BIN)/python" -c 'import setuptools.build_meta as b; b.build_sdist("dist.new"); b.build_wheel("dist.new")' \
		>dist.new/log 2>&1 || { cat dist.new/log >&2; exit 1; }
	rm dist.new/log
	rm -rf build dist *.egg-info
	mv dist.new dist
	ls -sh1 dist

# The device's system: bookworm-arm64, trixie-arm64 or bookworm-armhf.
TARGET ?= bookworm-arm64

wheelhouse: wheel  ## one folder that provisions a device without a network: make wheelhouse TARGET=trixie-arm64
	@"$(BIN)/python" firmware_scripts/wheelhouse.py "$(TARGET)" --wheel dist/*.whl --out "wheelhouse/$(TARGET)"
	installed=$$(mktemp -d) && trap 'rm -rf "$$installed"' EXIT
	"$(BIN)/python" firmware_scripts/application.py "wheelhouse/$(TARGET)" --out "$$installed/$(TARGET)"

demo: $(PACKAGE_STAMP)  ## convert the bundled model, validate it, run it on a simulated microscope, sign the run
	@mkdir -p demo
	crops=$$(cd / && "$(BIN)/python" -c 'from qlvit_edge.bundled import CROPS; print(CROPS)')
	fields=$$(cd / && "$(BIN)/python" -c 'from qlvit_edge.bundled import FIELDS; print(FIELDS)')
	rm -rf demo/results.sqlite* demo/report demo/frames demo/kept demo/sheet.html
	PATH="$(BIN):$$PATH"
	set -x
	qlvit-edge convert blood-nano --out demo/blood-nano.tflite --report demo/proof.json
	qlvit-edge inspect demo/blood-nano.tflite --summary
	qlvit-edge validate demo/blood-nano.tflite --data "$$crops" --out demo/report
	qlvit-edge run demo/blood-nano.tflite --camera "simulated:$$fields?fps=4" --count-once \
		--out demo/results.sqlite --frames 40 --save demo/frames --keep demo/kept --sample demo \
		--serve 127.0.0.1:0 --no-stay
	set +x
	python "$(ROOT)/benchmarks/demo_reader.py" demo/results.sqlite demo/blood-nano.tflite demo/sheet.html
	echo "Look at demo/report/index.html, the pictures in demo/frames and the signed sheet demo/sheet.html."
	echo "The live page was served while the run went on; its review page comes back with:"
	echo "  $(BIN)/qlvit-edge results serve demo/results.sqlite"

# A few files per process, the longest first: a process that ends in native code takes only these
# with it, where a crashed worker of pytest-xdist leaves the run waiting for ever.
PYTEST_BY_FILES = outside=$$(mktemp -d) && trap 'rm -rf "$$outside"' EXIT && cd "$$outside" && \
	mkdir failed && { tr '\n' '\0' | env -u PYTHONPATH QLVIT_EDGE_TESTED=installed OMP_NUM_THREADS=1 \
	FAILED="$$outside/failed" xargs -0 -P "$$(nproc)" -n $(1) "$(ROOT)"/tests/helpers/run_files.sh \
	timeout --kill-after=10 1500 "$(BIN)/pytest" -c "$(ROOT)/pyproject.toml" --rootdir "$(ROOT)" \
	-p no:cacheprovider $(2) || { cat failed/*; exit 1; }; }

test: $(PACKAGE_STAMP)  ## the tests that take seconds each, some files at a time on every core
	@ls -S "$(ROOT)"/tests/test_*.py | { $(call PYTEST_BY_FILES,4,-m "not slow"); }

FIRMWARE_PACKAGES := bats shellcheck rauc squashfs-tools openssl
SLOW_TEST_PACKAGES := chromium fonts-dejavu-core openssh-client openssh-server $(FIRMWARE_PACKAGES)

test-slow: $(PACKAGE_STAMP)  ## the tests that need minutes, a browser, a server of SSH or an emulator
	@if ! dpkg -s $(SLOW_TEST_PACKAGES) >/dev/null 2>&1; then
		sudo=$$(command -v sudo || true)
		$$sudo apt-get update -qq
		DEBIAN_FRONTEND=noninteractive $$sudo apt-get install -y -qq --no-install-recommends \
			$(SLOW_TEST_PACKAGES)
	fi
	grep -lF mark.slow "$(ROOT)"/tests/test_*.py | sort -r | { $(call PYTEST_BY_FILES,1,-m slow); }

test-firmware: $(PACKAGE_STAMP)  ## the device's scripts: installer, wheelhouse, screen, watchdog, read-only root, RAUC
	@if ! dpkg -s $(FIRMWARE_PACKAGES) >/dev/null 2>&1; then
		sudo=$$(command -v sudo || true)
		$$sudo apt-get update -qq
		DEBIAN_FRONTEND=noninteractive $$sudo apt-get install -y -qq --no-install-recommends \
			$(FIRMWARE_PACKAGES)
	fi
	bats tests/bats
	$(PYTEST)/test_install_script.py "$(ROOT)"/tests/test_install_places.py "$(ROOT)"/tests/test_install_service.py \
		"$(ROOT)"/tests/test_wheelhouse.py "$(ROOT)"/tests/test_rauc_bundle.py

lint: $(PACKAGE_STAMP)  ## style of the checkout, types of the installed package
	"$(BIN)/ruff" check .
	"$(BIN)/ruff" format --check .
	shopt -s nullglob globstar; "$(BIN)/shellcheck" .ci/run firmware_scripts/**/*.sh tests/helpers/*.sh tests/bats/* tests/device/*.sh
	cd / && env -u PYTHONPATH -u MYPYPATH "$(BIN)/mypy" --config-file "$(ROOT)/pyproject.toml" \
		--cache-dir "$(ROOT)/.mypy_cache" -p qlvit_edge

onnx2tf-env: .venv-onnx2tf/.done  ## make .venv-onnx2tf, what `convert --route onnx2tf` needs

.venv-onnx2tf/.done: requirements/onnx2tf.txt
	@"$(PYTHON)" -m venv --clear .venv-onnx2tf
	.venv-onnx2tf/bin/pip install --quiet --disable-pip-version-check -r requirements/onnx2tf.txt
	touch "$@"

# The packages of .venv are seen from .venv-peers: torch is there once.
peers-env: .venv-peers/.done  ## make .venv-peers, with the networks that `benchmarks/peers.py` trains

.venv-peers/.done: requirements/peers.txt | $(PACKAGE_STAMP)
	@"$(PYTHON)" -m venv --clear .venv-peers
	own=$$(.venv-peers/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
	"$(BIN)/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))' >"$$own/ours.pth"
	.venv-peers/bin/pip install --quiet --disable-pip-version-check -r requirements/peers.txt
	touch "$@"

test-onnx2tf: $(PACKAGE_STAMP) .venv-onnx2tf/.done  ## the stock path for real: onnx2tf and TensorFlow
	@export QLVIT_EDGE_ONNX2TF_PYTHON="$(ROOT)/.venv-onnx2tf/bin/python"
	$(PYTEST)/onnx2tf_check.py

# The system's Python, which sees the bindings of libcamera, with the packages of .venv.
test-picamera2: $(PACKAGE_STAMP)  ## the Raspberry Pi's camera for real: picamera2 from apt, and a camera
	@if ! /usr/bin/python3 -c 'import picamera2' 2>/dev/null; then
		found=$$(apt-cache policy python3-picamera2 2>/dev/null | sed -n 's/ *Candidate: //p')
		if [[ -z "$$found" || "$$found" == "(none)" ]]; then
			echo "test-picamera2: apt has no python3-picamera2 here; it is part of Raspberry Pi OS." >&2
			exit 1
		fi
		sudo=$$(command -v sudo || true)
		DEBIAN_FRONTEND=noninteractive $$sudo apt-get install -y -qq --no-install-recommends \
			python3-picamera2
	fi
	packages=$$("$(BIN)/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
	cd / && PYTHONPATH="$$packages" /usr/bin/python3 "$(ROOT)/tests/picamera2_check.py"

# Debian's disk, kernel and what was provisioned, about 8 GB; kept between runs.
DEVICE_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/qlvit-edge-device
DEVICE_PACKAGES := mmdebstrap qemu-system-arm qemu-utils e2fsprogs openssh-client

test-device: wheelhouse  ## an emulated device, booted and provisioned: make test-device [DEVICE="-k OPTIONS"]; an hour or more
	@if ! dpkg -s $(DEVICE_PACKAGES) >/dev/null 2>&1; then
		sudo=$$(command -v sudo || true)
		$$sudo apt-get update -qq
		DEBIAN_FRONTEND=noninteractive $$sudo apt-get install -y -qq --no-install-recommends $(DEVICE_PACKAGES)
	fi
	outside=$$(mktemp -d) && trap 'rm -rf "$$outside"' EXIT && cd "$$outside"
	env -u PYTHONPATH QLVIT_EDGE_TESTED=installed "$(BIN)/pytest" -c "$(ROOT)/pyproject.toml" --rootdir "$(ROOT)" \
		-p no:cacheprovider -o "python_files=*_check.py" -v "$(ROOT)/tests/device" \
		--device-cache "$(DEVICE_CACHE)" --arm64-cache "$(ARM64_CACHE)" \
		--wheelhouse "$(ROOT)/wheelhouse/bookworm-arm64" $(DEVICE)

bench: $(PACKAGE_STAMP)  ## benchmarks that need no data; the README names the others' commands
	"$(BIN)/python" benchmarks/help_time.py
	"$(BIN)/python" benchmarks/latency.py --size nano
	"$(BIN)/python" benchmarks/latency.py --size paper --rounds 20

fuzz: $(PACKAGE_STAMP)  ## hostile bytes for all that reads any: models, pictures, results, pages, streams, texts
	"$(BIN)/python" tests/attacks/fuzz.py --inputs 100000
	"$(BIN)/python" tests/attacks/fuzz_inspect.py --inputs 20000
	"$(BIN)/python" tests/attacks/fuzz_native.py --inputs 10000
	"$(BIN)/python" tests/attacks/fuzz_foreign.py --inputs 20000

arm64: $(PACKAGE_STAMP)  ## the bundled models on emulated arm64 against the recorded x86-64 outputs
	@if ! command -v mmdebstrap >/dev/null; then
		sudo=$$(command -v sudo || true)
		$$sudo apt-get update -qq
		DEBIAN_FRONTEND=noninteractive $$sudo apt-get install -y -qq --no-install-recommends mmdebstrap
	fi
	"$(BIN)/python" benchmarks/arm64.py --cache "$(ARM64_CACHE)"

arm64-validate: $(PACKAGE_STAMP)  ## `validate` on emulated arm64: the same bytes as here, on 58 images
	@if ! command -v mmdebstrap >/dev/null; then
		sudo=$$(command -v sudo || true)
		$$sudo apt-get update -qq
		DEBIAN_FRONTEND=noninteractive $$sudo apt-get install -y -qq --no-install-recommends mmdebstrap
	fi
	folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT
	"$(BIN)/python" benchmarks/arm64_validate.py --cache "$(ARM64_CACHE)" --out "$$folder"

# What the emulator with plugins is built of, and llvm-mca for CORTEX="--cycles".
CORTEX_PACKAGES := mmdebstrap build-essential binutils ninja-build flex bison pkg-config \
	libglib2.0-dev python3-venv llvm-19
MODELS ?= $(wildcard qlvit_edge/bundled/*/*.tflite)

cortex: $(PACKAGE_STAMP)  ## instructions that a Pi executes: make cortex [MODELS=FILE...] [CORTEX=OPTIONS]
	@if ! dpkg -s $(CORTEX_PACKAGES) >/dev/null 2>&1; then
		sudo=$$(command -v sudo || true)
		$$sudo apt-get update -qq
		DEBIAN_FRONTEND=noninteractive $$sudo apt-get install -y -qq --no-install-recommends \
			$(CORTEX_PACKAGES)
	fi
	"$(BIN)/python" benchmarks/cortex/count.py --cache "$(ARM64_CACHE)" $(CORTEX) $(MODELS)

record: $(PACKAGE_STAMP)  ## write the x86-64 outputs of the bundled models that arm64 is compared with
	@bundled=$$(cd / && "$(BIN)/python" -c 'from qlvit_edge.bundled import FOLDER; print(FOLDER)')
	"$(BIN)/python" -P benchmarks/outputs.py "$$bundled"/*/*.tflite --images "$$bundled" \
		--out tests/fixtures/outputs_x86.json

# The package is installed without its dependencies: those would bring the released runtime.
nightly: $(PACKAGE_STAMP)  ## operators and golden pairs on the newest pre-release of the runtime
	@rm -rf .venv-nightly
	"$(BIN)/python" -m venv .venv-nightly
	pip=".venv-nightly/bin/pip --quiet --disable-pip-version-check"
	$$pip install --constraint "$(CONSTRAINTS)" \
		setuptools numpy click rich pydantic opencv-python-headless flatbuffers hypothesis
	$$pip install --pre --upgrade "$(NIGHTLY)"
	rm -rf build
	$$pip install --no-deps --no-build-isolation .
	rm -rf build
	.venv-nightly/bin/python benchmarks/nightly.py

lock: .venv-audit/.done  ## pin all that a device installs by version and hash: requirements/device-*.txt
	@"$(PYTHON)" requirements/lock.py --uv .venv-audit/bin/uv

audit: .venv-audit/.done  ## ask the advisory service about everything that a device installs
	@"$(PYTHON)" requirements/audit.py --pip-audit .venv-audit/bin/pip-audit

.venv-audit/.done: requirements/audit.txt
	@"$(PYTHON)" -m venv --clear .venv-audit
	.venv-audit/bin/pip install --quiet --disable-pip-version-check -r requirements/audit.txt
	touch "$@"

clean:  ## remove what make and its tools made
	rm -rf .venv .venv-onnx2tf .venv-peers .venv-nightly .venv-audit build demo dist dist.new wheelhouse *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(DEPENDENCIES_STAMP): pyproject.toml $(CONSTRAINTS)
	@if ! "$(PYTHON)" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))'; then
		echo "make: '$(PYTHON)' is not Python 3.11 to 3.13; install one and name it: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2
		exit 2
	fi
	if ! "$(PYTHON)" -c 'import venv, ensurepip' 2>/dev/null; then
		echo "make: '$(PYTHON)' lacks its venv module; on Debian: sudo apt install python3-venv" >&2
		exit 2
	fi
	"$(BIN)/python" -c '' 2>/dev/null || "$(PYTHON)" -m venv --clear "$(VENV)"
	rm -rf build
	"$(BIN)/pip" install --quiet --disable-pip-version-check --constraint "$(CONSTRAINTS)" \
		setuptools ".[train,convert,onnx,plots,tensorboard,tiff,parquet,page,barcode,explain,sign,dev]"
	rm -rf build
	touch "$@"

# build/ would bring deleted modules back.
$(PACKAGE_STAMP): $(DEPENDENCIES_STAMP) $(SOURCES)
	@rm -rf build
	"$(BIN)/pip" install --quiet --disable-pip-version-check --no-deps --no-build-isolation \
		--force-reinstall .
	rm -rf build
	touch "$@"

.ONESHELL:
