# Two commands: `make demo` and `make test`. Each installs what it needs into .venv first.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin
TINY := runs/tiny

.PHONY: demo test lint train-tiny

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

$(VENV)/installed-demo: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(RUN)/pip install -c constraints.txt -e '.[train,video]'
	touch $@

$(VENV)/installed-dev: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(RUN)/pip install -c constraints.txt -e '.[all,dev]'
	touch $@
