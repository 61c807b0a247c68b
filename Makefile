# Two commands: `make demo` and `make test`. Each installs what it needs into .venv first.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin
TINY := runs/tiny

.PHONY: demo test lint train-tiny world-bigfish world-multigrid rooms policies-bigfish

demo: $(VENV)/installed-demo
	$(RUN)/flam-train demo bigfish --out demo

test: $(VENV)/installed-dev
	$(RUN)/python -m pytest

lint: $(VENV)/installed-dev
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .
	$(RUN)/mypy

# The whole way on real Bigfish frames in under ten minutes on two cores.
train-tiny: $(VENV)/installed-dev
	$(RUN)/flam-train collect bigfish --frames 12000 --out data/tiny
	$(RUN)/flam-train tokenizer data/tiny --out $(TINY) --preset tiny
	$(RUN)/flam-train world-model data/tiny --out $(TINY) --preset tiny
	$(RUN)/flam-train evaluate $(TINY) data/tiny --clips 64
	$(RUN)/flam-train demo $(TINY) --out demo-tiny

# How flam_env/pretrained/bigfish was made: under 100 minutes on two cores.
BIGFISH := flam_env/pretrained/bigfish
EACH_CORE := OMP_NUM_THREADS=1 $(RUN)/torchrun --nproc-per-node 2 -m
world-bigfish: $(VENV)/installed-dev
	$(RUN)/flam-train collect bigfish --frames 200000 --out data/bigfish
	$(RUN)/flam-train tokenizer data/bigfish --out runs/bigfish
	$(EACH_CORE) flam_train.world_model data/bigfish --out runs/bigfish --fit-config.minutes 44 --fit-config.compile
	$(EACH_CORE) flam_train.scheduled_sampling runs/bigfish data/bigfish --out runs/bigfish-steady \
		--fit-config.minutes 25 --fit-config.compile
	$(RUN)/flam-train evaluate runs/bigfish-steady data/bigfish
	mkdir -p $(BIGFISH)
	cp runs/bigfish-steady/*.json runs/bigfish-steady/*.safetensors runs/bigfish-steady/clips.npz $(BIGFISH)

# Makes a bundled world of the first run of the main experiment, whose three runs take 20 minutes on two cores.
MULTIGRID := flam_env/pretrained/multigrid
world-multigrid: $(VENV)/installed-dev
	$(RUN)/flam-train experiment main
	mkdir -p $(MULTIGRID)
	cp runs/rooms/main-0/config.json runs/rooms/main-0/*.safetensors runs/rooms/main-0/clips.npz $(MULTIGRID)
	cp benchmarks/results/rooms/main-0.json $(MULTIGRID)/report.json

# The paper's controlled experiments: what benchmarks/results/rooms lacks is trained, a few hours on two cores.
rooms: $(VENV)/installed-dev
	$(RUN)/flam-train experiment all
	$(RUN)/flam-train tables --plots docs/rooms > benchmarks/results/rooms.md

# From video to a policy, in Bigfish: the demonstrator, what it is filmed at, all arms of Table 4, and what is bundled of
# them: about four hours on two cores.
POLICY := flam_train/pretrained/bigfish
DEMONSTRATOR := runs/demonstrators/bigfish/policy.safetensors
FILM := $(RUN)/flam-train collect bigfish --native --random-share 0 --max-episode-frames 6000 --demonstrator $(DEMONSTRATOR)
policies-bigfish: $(VENV)/installed-dev
	$(RUN)/flam-train demonstrator bigfish --out $(dir $(DEMONSTRATOR)) --episodes 64
	$(FILM) --frames 200000 --out data/bigfish-demonstrations
	$(RUN)/flam-train decoder bigfish data/bigfish-demonstrations --labels 10000
	$(FILM) --frames 700000 --out data/bigfish-demonstrations
	$(RUN)/flam-train policies bigfish
	$(RUN)/flam-train policy-tables > benchmarks/results/policies.md
	mkdir -p $(POLICY)
	cp runs/policies/bigfish/flam-10000-0/policy.zip $(POLICY)
	cp benchmarks/results/policies/bigfish/flam-10000-0.json $(POLICY)/report.json
	cp $(DEMONSTRATOR) $(POLICY)/demonstrator.safetensors

$(VENV)/installed-demo: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(RUN)/pip install -c constraints.txt -e '.[train,video]'
	touch $@

$(VENV)/installed-dev: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(RUN)/pip install -c constraints.txt -e '.[all,dev]'
	touch $@ $(VENV)/installed-demo
