# Everything a developer runs. `make demo` and `make test` are the way in.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest
SOURCES := crds operator optimizer_image cli hack examples tests bench

.PHONY: help
help: ## Show the targets.
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

.PHONY: install
install: $(VENV)/.installed ## Make .venv with everything for development (CPU flavour).

# uv comes from its own hashed lock; everything else is installed by it, hashes checked.
$(VENV)/.installed: pyproject.toml requirements/uv.txt requirements/dev.txt requirements/examples.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "mopt needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version). Set PYTHON=..." >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { \
	  echo "python3 -m venv failed; on Debian: apt-get install python3-venv" >&2; exit 1; }
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/uv.txt
	# Compiled now: processes that open models may write nowhere, so not to __pycache__ either.
	$(BIN)/uv pip sync -q --compile-bytecode --python $(BIN)/python --require-hashes \
	  requirements/dev.txt requirements/examples.txt requirements/uv.txt
	$(BIN)/uv pip install -q --python $(BIN)/python --no-deps -e .
	@touch $@

COMPILE = $(BIN)/uv pip compile -q --universal --generate-hashes --no-emit-index-url \
  --no-annotate --no-header --python-version 3.11

COMPILE_GPU = $(BIN)/uv pip compile -q --generate-hashes --no-emit-index-url --no-annotate \
  --no-header --python-version 3.12 --python-platform x86_64-manylinux_2_28

.PHONY: lock
lock: install ## Resolve the dependencies again and write requirements/*.txt.
	# First what developers have, so that tests run with the versions that ship.
	$(COMPILE) --extra dev pyproject.toml -o requirements/dev.txt
	for extra in operator optimizer-cpu; do \
	  $(COMPILE) --extra $$extra -c requirements/dev.txt pyproject.toml -o requirements/$$extra.txt; \
	done
	# What comes on top of the optimizer's image, in the versions of both.
	$(COMPILE) --extra serve --extra cli -c requirements/dev.txt pyproject.toml -o requirements/serve.txt
	for file in examples uv perf-analyzer; do \
	  $(COMPILE) --no-deps requirements/$$file.in -o requirements/$$file.txt; \
	done
	# The GPU image in the versions of the CPU image, and what it adds in those of the GPU image.
	$(COMPILE) --extra optimizer-gpu -c requirements/optimizer-cpu.txt pyproject.toml \
	  -o requirements/optimizer-gpu.txt
	for file in build tensorrt nvcc pycuda; do \
	  $(COMPILE) -c requirements/optimizer-gpu.txt requirements/$$file.in -o requirements/$$file.txt; \
	done
	# For a kind of machine that is not the developer's: what it lacks, and what it has.
	$(COMPILE_GPU) requirements/gpu-bundle.in -o requirements/gpu-bundle.txt
	$(COMPILE_GPU) -c requirements/gpu-bundle.txt requirements/gpu-machine.in \
	  -o requirements/gpu-machine.txt
	# The peers in the versions that the product has, where both use a package.
	$(COMPILE) -c requirements/dev.txt requirements/bench.in -o requirements/bench.txt
	$(COMPILE) -c requirements/dev.txt requirements/docs.in -o requirements/docs.txt

.PHONY: lock-tensorrt
lock-tensorrt: install ## TensorRT's own wheels from the index TENSORRT_INDEX_URL into its lock.
	@test -n "$(TENSORRT_INDEX_URL)" || { \
	  echo "set TENSORRT_INDEX_URL to an index that has tensorrt-cu13-libs as a wheel" >&2; exit 1; }
	$(COMPILE) --upgrade --index "$(TENSORRT_INDEX_URL)" -c requirements/optimizer-gpu.txt \
	  requirements/tensorrt.in -o requirements/tensorrt.txt

# TAG is what the chart asks for by default; BUILD_ARGS such as "--build-arg PYCUDA=1".
TAG ?= $(shell sed -n 's/^appVersion: *"\(.*\)"/\1/p' helm/mopt/Chart.yaml)
BUILD_IMAGE = $(PYTHON) hack/devcluster build-image --context . \
  --build-arg REVISION=$(shell git describe --always --exclude '*' --abbrev=40 --dirty)

.PHONY: images
images: ## Build the operator's image and the optimizer's for CPUs (docs/images.md).
	$(BUILD_IMAGE) mopt/operator:$(TAG) --file operator/Dockerfile
	$(BUILD_IMAGE) mopt/optimizer:$(TAG) --file optimizer_image/Dockerfile

.PHONY: image-serve
image-serve: ## Build the image of mopt serve (docs/serve.md).
	$(BUILD_IMAGE) mopt/serve:$(TAG) --file optimizer_image/Dockerfile --target serve

.PHONY: image-gpu
image-gpu: ## Build the optimizer's image for GPUs; needs 25 GB of free disk.
	$(BUILD_IMAGE) mopt/optimizer-gpu:$(TAG) --file optimizer_image/Dockerfile \
	  --build-arg FLAVOUR=gpu $(BUILD_ARGS)

# A key of cosign's in COSIGN_KEY signs the digests.
.PHONY: dist
dist: install ## Build a release of this commit into dist/ (docs/releasing.md); images too by IMAGES=1.
	$(BIN)/python hack/release build $(if $(filter-out 0,$(IMAGES)),--images)

.PHONY: generate
generate: install ## Write the generated files (CRDs, docs/reference).
	$(BIN)/python hack/generate.py

.PHONY: format
format: install ## Format the code and fix what ruff can fix.
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

.PHONY: check
check: install ## Lint, types, import contracts, generated files.
	# Its cache does not notice that a folder which is new makes a module's name ours.
	$(BIN)/ruff check --no-cache $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python hack/generate.py --check

# The site's own environment: nothing of it is needed for development.
DOCS_VENV := .venv-docs
.PHONY: docs
docs: $(DOCS_VENV)/.installed ## Build the documentation site into .state/site (DOCS_REPOSITORY=https://.../blob/main links to sources).
	$(DOCS_VENV)/bin/python hack/docs_site

$(DOCS_VENV)/.installed: requirements/docs.txt | install
	test -x $(DOCS_VENV)/bin/python || $(PYTHON) -m venv --without-pip $(DOCS_VENV)
	$(BIN)/uv pip sync -q --python $(DOCS_VENV)/bin/python --require-hashes requirements/docs.txt
	@touch $@

.PHONY: test
test: ## Set up and run all tests, cluster included.
	hack/test check+cluster docs fast optimizer tensorrt gitops-where-built e2e

.PHONY: test-fast
test-fast: ## Tests without a cluster or a model runtime (under 90 s).
	hack/test fast

.PHONY: test-optimizer
test-optimizer: ## Tests that load torch, ONNX Runtime, OpenVINO, MinIO.
	hack/test optimizer

.PHONY: test-tensorrt
test-tensorrt: ## Engines by TensorRT for RTX's own parser and builder, without a GPU.
	hack/test tensorrt

.PHONY: test-gpu
test-gpu: ## Engines on an NVIDIA GPU; what is missing skips with its name.
	hack/test gpu

.PHONY: test-browser
test-browser: ## The report in Chromium, at two widths, light and dark; skipped where there is none.
	hack/test browser

.PHONY: test-operator
test-operator: ## Tests against a real API server (light cluster).
	hack/test operator

.PHONY: test-chart
test-chart: ## Tests of the Helm chart.
	hack/test chart

.PHONY: test-gitops
test-gitops: ## Flux, Argo CD, cosign and a registry on a light cluster; the first time builds them.
	hack/test gitops

.PHONY: test-e2e
test-e2e: ## The demo's path on a full cluster, checked from outside.
	hack/test e2e

.PHONY: demo
demo: install ## From nothing to a measured model: cluster, MinIO, images, chart, example, table.
	$(BIN)/python hack/demo up

.PHONY: demo-down
demo-down: install ## Remove everything that `make demo` made.
	$(BIN)/python hack/demo down

.PHONY: test-large
test-large: ## A model above 2 GB, alone (needs 24 GB of disk); writes docs/records/large.md.
	hack/test large

.PHONY: test-bare
test-bare: ## The stages in an environment of a GPU machine's packages alone; needs Python 3.12.
	hack/test bare

.PHONY: faults
faults: ## Every fault of docs/reliability.md (45 min); writes docs/records/faults.md.
	hack/test faults

.PHONY: test-full
test-full: ## The long tests: conformance, architectures, examples, hostile programs, image volumes, Kyverno, Kueue, alerts beside Prometheus, load generators of others, faults, mutations, new random examples, > 2 GB, a bare machine.
	hack/test conformance architectures examples hostile bare gitops admission kubelet kueue alerts clients faults mutations random large

# What a machine with a GPU and without an index lacks (docs/gpu.md); runs there by bench/gpu/run.sh.
GPU_BUNDLE := .gpu-bundle
DOWNLOAD_GPU_BUNDLE = $(BIN)/python -m pip download -q --disable-pip-version-check \
  --require-hashes --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \
  --platform manylinux_2_28_x86_64 --platform manylinux_2_24_x86_64 \
  --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 \
  --platform manylinux1_x86_64

.PHONY: gpu-bundle
gpu-bundle: install ## Models, images and wheels for a borrowed GPU into .gpu-bundle (docs/gpu.md).
	rm -rf $(GPU_BUNDLE)
	$(DOWNLOAD_GPU_BUNDLE) -r requirements/gpu-bundle.txt -d $(GPU_BUNDLE)/wheels
	$(BIN)/python -m bench.gpu.bundle $(GPU_BUNDLE)

# Anew: make bench-operator BENCH_RECORD=$(mktemp -u) RESOURCES="100 1000 5000 10000".
RESOURCES ?= 100 1000
BENCH_RECORD ?= docs/records/operator.json
.PHONY: bench-operator
bench-operator: install ## The operator at scale beside a script, on a cluster that kwok plays (RESOURCES).
	$(BIN)/python -m bench.operator --resources $(RESOURCES) --record $(BENCH_RECORD)
	$(BIN)/python -m bench.operator.publish $(BENCH_RECORD) docs

# The peers' own environment: nothing of it reaches the product.
BENCH_VENV := .venv-bench
.PHONY: soak
soak: install ## An hour of random users and accidents: what of the operator grows (MINUTES).
	$(BIN)/python -m bench.operator.soak --minutes $(or $(MINUTES),60) --record docs/records/soak.json

.PHONY: bench-install
bench-install: $(BENCH_VENV)/.installed

$(BENCH_VENV)/.installed: requirements/bench.txt | install
	test -x $(BENCH_VENV)/bin/python || $(PYTHON) -m venv --without-pip $(BENCH_VENV)
	$(BIN)/uv pip sync -q --python $(BENCH_VENV)/bin/python --require-hashes requirements/bench.txt
	@touch $@

.PHONY: bench-optimizer
bench-optimizer: bench-install ## mopt beside its peers on eight models (hours; goes on where it ended), see docs/optimizer/peers.md (BENCH).
	OMP_WAIT_POLICY=passive $(BIN)/python bench/optimizer/run.py --page docs/optimizer/peers.md $(BENCH)

.PHONY: bench-models
bench-models: install ## Train the networks of the comparison that are made here, into build/bench-models.
	$(BIN)/python bench/optimizer/train.py

.PHONY: bench-repeat
bench-repeat: install ## The example measured ten times: the winner of each, the spread of the ratios.
	OMP_WAIT_POLICY=passive $(BIN)/python bench/optimizer/repeat.py

.PHONY: bench-warm
bench-warm: install ## New weights of the same graph: share of the first run's time; wants a quiet machine.
	OMP_WAIT_POLICY=passive $(BIN)/python bench/optimizer/warm_start.py --json docs/records/warm_start.json

.PHONY: bench-verdicts
bench-verdicts: install ## How often a verdict is wrong, from real rounds; wants a quiet machine.
	$(BIN)/python bench/optimizer/verdicts.py --json docs/records/verdicts.json

.PHONY: bench-neighbours
bench-neighbours: install ## What a measurement sees of busy loops beside it; wants a quiet machine.
	$(BIN)/python bench/optimizer/neighbours.py
