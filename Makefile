# Two commands on a fresh machine: make quickstart, make test. `make` alone lists the targets.

PYTHON ?= python3
PY := .venv/bin/python
QUICKSTART := bm25 flops l0_mask l0_mask_activation
QUICKSTART_CONFIGS := $(QUICKSTART:%=config/quickstart/%.yaml)
PACKAGES := sparse_model losses training mining pairs retrieval experiment

.DEFAULT_GOAL := help
.PHONY: gpu help install quickstart quickstart-smoke test test-fast test-kernels test-clients test-interop test-attack test-attack-short test-paper-versions lint docs benchmark

help:  ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/make \1 \t\2/' | expand -t 28

install: .venv/installed  ## make .venv, or bring it up to date (PYTHON=python3.12 to choose an interpreter)

# A file that is as new as what it was installed from: then there is nothing to do.
.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
		echo 'Python 3.10 or newer is needed; $(PYTHON) is not. Name another: make install PYTHON=python3.12' >&2; exit 2; }
	@test -x $(PY) || $(PYTHON) -m venv .venv
	@echo 'installing into .venv (a minute or more)'
	$(PY) -m pip install --quiet --disable-pip-version-check --no-compile -e '.[test]' -c constraints.txt
	@# pip would compile on one core, and the packages' own tests too. Some files are meant not to compile.
	@$(PY) -m compileall -qq -j 0 -x '/tests?/' .venv/lib || true
	@touch $@

quickstart: install  ## real text, three short trainings, BM25 beside them, a report (9 minutes on 2 cores)
	$(PY) -m pairs.quickstart --output_dir data/quickstart
	PYTHON=$(PY) bash run_reproduce.sh --name quickstart $(QUICKSTART_CONFIGS)

SMOKE := output/report/quickstart-smoke
quickstart-smoke: install  ## the quickstart with a few steps, to see that everything works
	$(PY) -m pairs.quickstart --output_dir data/quickstart-smoke --smoke
	PYTHON=$(PY) bash run_reproduce.sh --name quickstart-smoke $(QUICKSTART_CONFIGS) -- \
		model_name_or_path=data/quickstart-smoke/model train_file=data/quickstart-smoke/train.jsonl \
		idf_path=data/quickstart-smoke/idf.json beir_datasets=quickstart-smoke \
		max_steps=40 warmup_steps=4 flops_d_T=20 save_steps=20
	@for file in index.html report.md results.csv quality_flops.png; do \
		test -s $(SMOKE)/$$file || { echo "$(SMOKE)/$$file is missing" >&2; exit 1; }; done
	@for name in flops l0_mask l0_mask_activation; do \
		test -s output/quickstart-smoke/$$name/evaluation/quickstart-smoke.json || { \
		echo "output/quickstart-smoke/$$name has no evaluation" >&2; exit 1; }; done
	@echo 'smoke test passed: all files are there (40 steps on other data: no figures to compare)'

# Tests of one group (those of a node) stay in one process.
test: install  ## the test suite, offline
	OMP_NUM_THREADS=1 $(PY) -m pytest -q -n 2 --dist loadgroup --ignore tests/attack --ignore tests/kernels --ignore tests/clients

test-fast: install  ## the tests that start no other process and are not slow: a minute
	OMP_NUM_THREADS=1 $(PY) -m pytest -q -n 2 --dist loadgroup -m "not process and not distributed and not opensearch and not slow"

# Beside the other packages, not among them: torch for NVIDIA's GPUs brings a version of its own and needs that one.
.venv/kernels/installed: .venv/installed
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target .venv/kernels triton==3.9.0
	@touch $@

CLIENTS := qdrant-client milvus-lite pymilvus pyseismic-lsr bm25s
.venv/clients/installed: .venv/installed
	@for client in $(CLIENTS); do \
		$(PY) -m pip install --quiet --disable-pip-version-check --upgrade --target .venv/clients "$$client" \
		-c constraints.txt || echo "$$client cannot be installed here: its test will be skipped" >&2; done
	@touch $@

test-clients: install .venv/clients/installed  ## vectors that retrieval.encode wrote, searched by Qdrant, Milvus, Seismic and bm25s
	OMP_NUM_THREADS=1 PYTHONPATH=.venv/clients $(PY) -m pytest -q -rs tests/clients

# Programs that load checkpoints, and other versions of those in .venv, each in a folder that goes before it. Of what they
# need only that is installed which .venv lacks or has in a version that they refuse.
PIP_TARGET := -m pip install --quiet --disable-pip-version-check --no-deps --upgrade
OLD_HUB := huggingface_hub==0.36.0 datasets==3.6.0
.venv/interop/installed: .venv/installed constraints.txt
	$(PY) $(PIP_TARGET) -c constraints.txt --target .venv/interop/programs onnx onnxruntime ml_dtypes flatbuffers \
		fastembed==0.9.1 loguru==0.7.3 mmh3==5.3.1 py-rust-stemmers==0.1.8
	$(PY) $(PIP_TARGET) --target .venv/interop/today mteb==2.26.24 polars==2.1.0 polars-runtime-32==2.1.0
	$(PY) $(PIP_TARGET) --target .venv/interop/st-5.7 sentence-transformers==5.7.0
	$(PY) $(PIP_TARGET) --target .venv/interop/st-5.1 sentence-transformers==5.1.2 transformers==4.57.6 \
		tokenizers==0.22.2 $(OLD_HUB)
	$(PY) $(PIP_TARGET) --target .venv/interop/transformers-4.44 sentence-transformers==5.1.2 transformers==4.44.1 \
		tokenizers==0.19.1 $(OLD_HUB)
	@touch $@

# Where one fails, the others are tried all the same.
test-interop: install .venv/interop/installed  ## checkpoints in sentence-transformers 5.1, 5.7, 6, transformers 4.44, ONNX, FastEmbed, MTEB (10 minutes)
	@failed=0; for place in today st-5.7 st-5.1 transformers-4.44; do echo "$$place"; \
		OMP_NUM_THREADS=1 PYTHONPATH=.venv/interop/$$place:.venv/interop/programs $(PY) -m pytest -q -rs -n 2 \
		tests/interop --ignore tests/interop/test_opensearch_export.py || failed=1; done; exit $$failed

# The interpreter and the compiler cannot be had in one process.
test-kernels: install .venv/kernels/installed  ## the head's GPU kernels on a CPU: interpreted, and compiled for three generations
	OMP_NUM_THREADS=1 PYTHONPATH=.venv/kernels TRITON_INTERPRET=1 $(PY) -m pytest -q -n 2 tests/kernels/test_interpreted.py
	OMP_NUM_THREADS=1 PYTHONPATH=.venv/kernels $(PY) -m pytest -q -n 2 tests/kernels/test_compiled.py

test-attack: install  ## generated inputs; kills and broken disks at each command's file operations (SPARSE_ATTACK=every: all)
	SPARSE_ATTACK=$${SPARSE_ATTACK:-places} OMP_NUM_THREADS=1 $(PY) -m pytest -q -n 2 -m generated --ignore tests/kernels
	SPARSE_ATTACK=$${SPARSE_ATTACK:-places} OMP_NUM_THREADS=1 $(PY) -m pytest -q -n 2 --dist loadgroup -rP tests/attack

test-attack-short: install  ## the same at one operation of each command, killed or short of room
	OMP_NUM_THREADS=1 $(PY) -m pytest -q -n 2 --dist loadgroup tests/attack -k "kill or limit"

# On the machine's own torch and transformers: nothing is installed. PY=python3 where there is no .venv.
DEVICE ?= cuda
gpu:  ## tests and measurements on a GPU, docs/performance_gpu.md (9 minutes; DEVICE=cpu: a rehearsal)
	SPARSE_DEVICE=$(DEVICE) $(PY) -m pytest -q tests/gpu
	$(PY) -m benchmarks.device --device $(DEVICE)

# The paper's interpreter if it is here; torch 2.5.1 brings CUDA, several GB.
PAPER_PYTHON = $(shell python3.11 -c 'print("python3.11")' 2>/dev/null || echo $(PYTHON))
test-paper-versions: install  ## the test suite with the versions of search.yaml, in .venv-paper
	@test -x .venv-paper/bin/python || $(PAPER_PYTHON) -m venv .venv-paper
	$(PY) -c "import yaml; print(*yaml.safe_load(open('search.yaml'))['dependencies'][-1]['pip'], sep='\n')" \
		> .venv-paper/pins.txt
	.venv-paper/bin/python -m pip install --quiet -e '.[test]' -r .venv-paper/pins.txt
	OMP_NUM_THREADS=1 .venv-paper/bin/python -m pytest -q -n 2 --dist loadgroup

lint: install  ## style, formatting and types
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy $(PACKAGES) benchmarks

.venv/docs-installed: .venv/installed
	$(PY) -m pip install --quiet --disable-pip-version-check -e '.[docs]' -c constraints.txt
	@touch $@

docs: install .venv/docs-installed  ## the documentation as a site, docs/_build/index.html; a warning is an error
	$(PY) -m sphinx -b html -W --keep-going -q docs docs/_build
	@echo 'docs/_build/index.html'

benchmark: install  ## side-by-side measurements, docs/performance.md (15 minutes on 2 cores; BENCHMARK="--tiny FOLDER" for options)
	@for peer in $$($(PY) -c "from importlib.metadata import requires; \
		print(*(r.split(';')[0] for r in requires('sparse-retrieval-l0') if 'benchmark' in r))"); do \
		$(PY) -m pip install --quiet --disable-pip-version-check "$$peer" -c constraints.txt || \
		echo "$$peer cannot be installed here: its row will say so" >&2; done
	$(PY) -m benchmarks $(BENCHMARK)
