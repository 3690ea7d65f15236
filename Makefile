# Two commands on a fresh machine: `make table` and `make test`. Needs git, make, and Python >= 3.11 with venv.
.DELETE_ON_ERROR:
PYTHON ?= python3
CORES ?= all

VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: setup table quick verify page claims noise test portability faults mutants smoke lint audit lock schema publish clean

setup: $(VENV)/ready

table: setup
	$(BIN)/snakemake --cores $(CORES) results/table.md
	@$(BIN)/dsacap diff --brief results || true

# A first table, in results/quick/: the same systems, less data and training. Five minutes on two cores, set-up included.
quick: setup
	$(BIN)/snakemake --cores $(CORES) results/quick/table.md --configfile config/quick.yaml

# The committed captions scored again, and every cell of the committed tables compared: three minutes. SPICE of captions that were never
# parsed is left out; SPICE=1 parses them, up to an hour. FOLDERS=results/scenes-long for one table.
verify: setup
	$(BIN)/dsacap verify $(FOLDERS) $(if $(SPICE),--spice)

# Controls, five seeds and verdicts on the paper's claims: two to three hours.
claims: setup
	$(BIN)/snakemake results/ablation.md results/claims.md --cores $(CORES) \
		--configfile config/scenes.yaml config/ablation/scenes.yaml

# What noise on the image is for: other readings of it, each with its control, and docs/noise.md from all committed claims. Three hours.
READINGS := pixels latents shifted few
noise: setup
	for reading in $(READINGS); do \
		$(BIN)/snakemake results/noise/$$reading/table.md results/noise/$$reading/claims.md --cores $(CORES) \
			--configfile config/noise/$$reading.yaml || exit 1; \
	done
	$(BIN)/python -m dsacap.reporting.noise_page

# The table, and index.html beside it: photos with every system's captions, the inside of DSACap, plots.
page: setup
	$(BIN)/snakemake --cores $(CORES) results/table.md results/index.html

# The tests under other kernels than this processor's own, and in emulation of other processors: docs/reproducibility.md. Two hours.
PROCESSORS := EPYC Haswell
portability: setup
	for setting in UNSET= ATEN_CPU_CAPABILITY=default ATEN_CPU_CAPABILITY=avx2 MKL_CBWR=COMPATIBLE DSACAP_TEST_THREADS=2; do \
		echo "$$setting"; \
		env $$setting $(BIN)/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder --benchmark-skip --quiet || exit 1; \
	done
	$(BIN)/pytest tests/portability -m emulated
	for processor in $(PROCESSORS); do tests/portability/emulated $$processor || exit 1; done

# A file at a time on each of two processes; `pytest` alone is the same in one.
test: setup
	$(BIN)/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder --benchmark-skip

# Kills, unusual environments, malformed input, full disks: an hour, as root. KILLS=50 is the long version. Counts go to docs/trust.*
KILLS ?= 5
INPUTS ?= 10000
faults: setup
	$(BIN)/pytest tests/faults -m faults --kills $(KILLS) --inputs $(INPUTS) --faults-report docs/trust.json
	PYTHONPATH=. $(BIN)/python tests/faults/report.py

smoke: setup
	$(BIN)/snakemake --cores $(CORES) --configfile config/smoke.yaml

# Mutants of the code that numbers come from, most of an hour on one core: tests/faults/mutants.md.
# ONLY='dsacap.scoring.metrics.bleu*' for some of them.
mutants: setup
	$(BIN)/python tests/faults/mutants.py $(ONLY)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/snakemake --lint

# The JSON schema of configurations, after a change of dsacap/config/.
schema: setup
	$(BIN)/python -m dsacap.config.schema

# Known vulnerabilities of the pinned packages, and everybody's licences. Needs the open internet.
audit: setup
	$(BIN)/uv tool run pip-audit --requirement requirements.lock --no-deps --disable-pip
	$(BIN)/uv tool run pip-licenses --python $(BIN)/python --from mixed --order license

# A finished results/table.* becomes the committed copy in results/<name>/. CONFIG chooses which.
CONFIG ?= config/scenes.yaml
publish: setup
	$(BIN)/dsacap publish --config $(CONFIG)

# The environment, as requirements.lock says, hash by hash; `ready` is written last, so a broken set-up is done again. Compiled at once:
# where PYTHONDONTWRITEBYTECODE is set, as in many containers, each of the pipeline's processes would compile torch anew (2 s of 4).
$(VENV)/ready: requirements.lock requirements-uv.lock pyproject.toml
	@$(PYTHON) -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: $(PYTHON) must be Python >= 3.11 with venv (Debian: apt-get install python3-venv), or set PYTHON="; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-uv.lock
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	touch $@

# New pins: after a change of pyproject.toml, or to move to newer releases. environment.yml takes them from the same file.
lock: setup
	$(BIN)/uv pip compile pyproject.toml --all-extras --universal --generate-hashes --no-header \
		--no-emit-index-url --no-annotate --upgrade --quiet -o requirements.lock

clean:
	rm -rf $(VENV) work results/table.* results/*-diversity.svg results/index.html results/smoke results/quick
