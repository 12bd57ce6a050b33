# make sweep   set up, run the `quick` sweep, and show its table, its SQL and its figure
# make test    set up, and run the tests          make check   lint and types
# make bench   set up, and measure training against its peers (half an hour)
# make bench-overhead    what a sweep of 10,000 short trials costs besides training them
# make gpu-check     is all as it should be on this NVIDIA GPU, and how fast, against its limits and others (8 minutes)
# make bench-precision   whether bf16 and TF32 products change what is learnt (192 trials, half an hour)
# make bench-search      what searching and early stopping save, and what they lose, against full sweeps (an hour)
# make small-paper       every batch of the paper in small (72 minutes on two busy cores), and its findings; resumable
# make cluster-test      three nodes in network namespaces, and what happens to them (root, iproute2; eleven minutes)
# make chaos             trials under 150 random faults of nine kinds; CHAOS_SEED=… CHAOS_EVENTS=… CHAOS_KINDS=… (half an hour; gcc, some as root)
# make test-long         the tests that `make test` leaves out for their length, chaos and clusters aside (half an hour)
# make test-ray          what starts Ray, on the oldest and the newest release that pyproject.toml allows
# make bench-query       questions, the page and figures over a million trials, in seconds and memory, beside pandas (20 minutes)
# make bench-scaling     three nodes against one, and a plan for a million trials (root, iproute2)
PYTHON ?= python3
OUT ?= results
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
SQL := select bias_offset, lr, round(avg(mono_per_feature), 3) as mono_per_feature, \
round(avg(loss), 4) as loss, round(avg(n_positive_bias), 1) as n_positive_bias, count(*) as seeds \
from trials where sweep = 'quick' group by bias_offset, lr order by bias_offset desc, lr

.PHONY: sweep test test-long test-ray check bench bench-overhead bench-query gpu-check bench-precision bench-search small-paper cluster-test chaos bench-scaling clean

sweep: $(VENV)/installed
	$(BIN)/monosweep launch quick --out $(OUT)
	@echo
	$(BIN)/monosweep query $(OUT) "$(SQL)"
	@echo
	$(BIN)/monosweep figures $(OUT) summary

test: $(VENV)/installed-for-tests
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

test-long: $(VENV)/installed-for-tests
	$(BIN)/python -m pytest -m long --ignore tests/chaos --ignore tests/cluster

# Another release of Ray lies before the installed one on the path.  Warnings that an old one raises are its own.
RAY_RELEASES ?= 2.52.0 2.60.*
test-ray: $(VENV)/installed-for-tests
	for release in $(RAY_RELEASES); do \
	    $(PIP) install --upgrade --no-deps --target "$(VENV)/ray-$$release" "ray==$$release" || exit 1; \
	    PYTHONPATH="$$PWD/$(VENV)/ray-$$release" $(BIN)/python -W ignore::ResourceWarning -m pytest \
	        -W ignore::ResourceWarning -W ignore::pytest.PytestUnraisableExceptionWarning \
	        tests/sweep/executors tests/sweep/test_crash.py || exit 1; \
	done

check: $(VENV)/installed-for-tests $(VENV)/types
	$(BIN)/ruff check .
	$(BIN)/mypy

# OpenBLAS picks the kernels for this processor, whatever the shell says.
bench: $(VENV)/installed-for-benchmarks
	env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE $(BIN)/python tests/benchmarks/full.py
	env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE $(BIN)/python tests/benchmarks/toys.py

bench-overhead: $(VENV)/installed
	env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE $(BIN)/python tests/benchmarks/overhead.py

# Takes --whole and others: make gpu-check ARGS=--whole
gpu-check: $(VENV)/installed
	$(BIN)/python tests/benchmarks/gpu.py $(ARGS)

bench-precision: $(VENV)/installed-for-benchmarks
	$(BIN)/monosweep launch precision --out $(OUT)
	$(BIN)/python tests/benchmarks/precision.py $(OUT)

bench-search: $(VENV)/installed
	env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE $(BIN)/python tests/benchmarks/search.py $(ARGS)

# Takes --trials and --root: make bench-query ARGS="--trials 50000"
bench-query: $(VENV)/installed-for-tests
	$(BIN)/python tests/benchmarks/query.py $(ARGS)

small-paper: $(VENV)/installed
	$(BIN)/monosweep launch small --out $(OUT)
	$(BIN)/python -m monosweep.analysis.papers.jermyn2022.small $(OUT) --to tests/benchmarks/results

cluster-test: $(VENV)/installed-for-tests
	MONOSWEEP_NO_SKIPS=1 $(BIN)/python -m pytest tests/cluster -v -m "long or not long"

chaos: $(VENV)/installed-for-tests
	$(BIN)/python -m pytest tests/chaos tests/sweep/test_crash.py -s -m long

bench-scaling: $(VENV)/installed-for-tests
	PYTHONPATH=tests/cluster:tests/chaos $(BIN)/python tests/benchmarks/scaling.py

clean:  ## leaves results alone
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp, so that nothing is installed again until pyproject.toml changes.
$(VENV)/installed: pyproject.toml | $(VENV)/created
	@echo "installing monosweep and what it needs into $(VENV)"
	$(PIP) install --editable .
	@touch $@

$(VENV)/installed-for-tests: pyproject.toml | $(VENV)/created
	@echo "installing monosweep, what it needs and its tests need, into $(VENV)"
	$(PIP) install --editable '.[test]'
	@touch $(VENV)/installed $@

$(VENV)/installed-for-benchmarks: pyproject.toml | $(VENV)/created
	@echo "installing monosweep, what it needs and its benchmarks need, into $(VENV)"
	$(PIP) install --editable '.[bench]'
	@touch $(VENV)/installed $@

# The packages under their one name, for mypy, editors (add this folder to their search path) and PYTHONPATH.
$(VENV)/types: | $(VENV)/created
	mkdir -p $@/monosweep
	for room in model sweep analysis; do ln -sfn ../../../$$room $@/monosweep/$$room; done

$(VENV)/created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
	"monosweep needs Python 3.11 or newer; got " + sys.version.split()[0] + "; name one with make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	@touch $@
