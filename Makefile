# Two commands: `make demo` and `make test`. Each installs what it needs into .venv first.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin
TINY := runs/tiny

.PHONY: demo test lint train-tiny drive rehearse-recipe rehearse-campaign world-bigfish world-starpilot world-multigrid rooms policies-bigfish policies-starpilot

demo: $(VENV)/installed-demo
	$(RUN)/flam-train demo bigfish-v1 --out demo

test: $(VENV)/installed-dev
	OMP_NUM_THREADS=1 $(RUN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

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

# What docs/driving.md tells of: a world of a drive that is made up, about 40 minutes on one core.
DRIVE := runs/drive
drive: $(VENV)/installed-dev
	$(RUN)/flam-train collect synthetic-drive --frames 40000 --out data/drive
	$(RUN)/flam-train tokenizer data/drive --out $(DRIVE) --preset nuplan-small
	$(RUN)/flam-train world-model data/drive --out $(DRIVE) --preset nuplan-small
	$(RUN)/flam-train evaluate $(DRIVE) data/drive --clips 64 --metrics pixels rate continuous_actions realism
	$(RUN)/flam-train demo $(DRIVE) --out demo-drive

# What a machine with a GPU does with packs (docs/gpu.md), for a few steps on one core: `small` is trained as `gpu` is.
rehearse-recipe: $(VENV)/installed-dev
	$(RUN)/flam-train recipe artifacts/bigfish.pack --preset small --minutes 0.3 --workers 1 --scoring.clips 16 \
		--scoring.metrics slots velocity --out runs/rehearsal

# The comparison of docs/comparison.md on a small scale, in two pieces, two trainings at a time.
REHEARSE := $(RUN)/python -m baselines.campaign --plan tiny --only bigfish --jobs 2 --data artifacts --clips 16 --perceptual \
	--runs runs/rehearsal --reports runs/rehearsal/reports
rehearse-campaign: $(VENV)/installed-dev
	$(REHEARSE) --minutes-at-once 1
	$(REHEARSE)

# How the worlds of flam_env/pretrained/bigfish and starpilot are made: about 100 minutes each on two cores.
WORLDS := flam_env/pretrained
CODEC := --model.no-background-sink --model.no-focus --model.no-difference --model.persistence 0 \
	--model.prior-components None --loss.information-price 0.15
EACH_CORE := OMP_NUM_THREADS=1 $(RUN)/torchrun --nproc-per-node 2 -m flam_train
world-bigfish world-starpilot: world-%: $(VENV)/installed-dev
	$(RUN)/flam-train collect $* --frames 200000 --out data/$*
	$(RUN)/flam-train tokenizer data/$* --out runs/$*
	$(EACH_CORE) world-model data/$* --out runs/$* --fit-config.compile $(CODEC)
	$(EACH_CORE) scheduled-sampling runs/$* data/$* --out runs/$*-steady --fit-config.compile
	$(RUN)/flam-train evaluate runs/$*-steady data/$*
	mkdir -p $(WORLDS)/$*
	rm -f $(WORLDS)/$*/decoder.* $(WORLDS)/$*/encoder.*
	cp runs/$*-steady/*.json runs/$*-steady/*.safetensors runs/$*-steady/clips.npz $(WORLDS)/$*

# Makes a bundled world of the first run of the main experiment, whose three runs take 20 minutes on two cores.
MULTIGRID := $(WORLDS)/multigrid
world-multigrid: $(VENV)/installed-dev
	$(RUN)/flam-train experiment main
	mkdir -p $(MULTIGRID)
	cp runs/rooms/main-0/config.json runs/rooms/main-0/*.safetensors runs/rooms/main-0/clips.npz $(MULTIGRID)
	cp benchmarks/results/rooms/main-0.json $(MULTIGRID)/report.json

# The paper's controlled experiments: what benchmarks/results/rooms lacks is trained, a few hours on two cores.
rooms: $(VENV)/installed-dev
	$(RUN)/flam-train experiment all
	$(RUN)/flam-train tables --plots docs/rooms > benchmarks/results/rooms.md

# From video to a policy: the demonstrator, what it is filmed at, all arms of Table 4, and what is bundled of them: about
# four hours on two cores for Bigfish, three for Starpilot, whose clones get fewer steps.
POLICIES := flam_train/pretrained
FILM = $(RUN)/flam-train collect $(1) --native --random-share 0 --max-episode-frames $(2) --frames $(3) \
	--demonstrator runs/demonstrators/$(1)/policy.safetensors --out data/$(1)-$(4)
DECODE = $(RUN)/flam-train ground $(1) data/$(1)-$(2) --labels 10000 --out runs/decoders/$(1) && \
	cp runs/decoders/$(1)/decoder.* runs/decoders/$(1)/encoder.* runs/decoders/$(1)/config.json $(WORLDS)/$(1)
policies-bigfish: $(VENV)/installed-dev
	$(RUN)/flam-train demonstrator bigfish --out runs/demonstrators/bigfish --episodes 64
	$(call FILM,bigfish,6000,200000,labels)
	$(call DECODE,bigfish,labels)
	$(call FILM,bigfish,6000,700000,demonstrations)
	$(RUN)/flam-train policies bigfish
	$(RUN)/flam-train policy-tables > benchmarks/results/policies.md
	mkdir -p $(POLICIES)/bigfish
	cp runs/policies/bigfish/flam-10000-0/policy.safetensors $(POLICIES)/bigfish
	cp benchmarks/results/policies/bigfish/flam-10000-0.json $(POLICIES)/bigfish/report.json
	cp runs/demonstrators/bigfish/policy.safetensors $(POLICIES)/bigfish/demonstrator.safetensors

policies-starpilot: $(VENV)/installed-dev
	$(RUN)/flam-train collect starpilot --frames 80000 --native --random-share 0 --out data/starpilot-planner
	$(RUN)/flam-train reinforce starpilot --imitated data/starpilot-planner --out runs/demonstrators/starpilot
	$(call FILM,starpilot,1000,200000,demonstrations)
	$(call DECODE,starpilot,demonstrations)
	$(RUN)/flam-train policies starpilot --fit.steps 4000
	$(RUN)/flam-train policy-tables > benchmarks/results/policies.md
	mkdir -p $(POLICIES)/starpilot
	cp runs/demonstrators/starpilot/policy.safetensors $(POLICIES)/starpilot/demonstrator.safetensors

$(VENV)/installed-demo: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(RUN)/pip install -c constraints.txt -e '.[train,video]'
	touch $@

$(VENV)/installed-dev: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(RUN)/pip install -c constraints.txt -e '.[all,dev]'
	touch $@ $(VENV)/installed-demo
