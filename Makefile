# make run    install what is missing and run the four notebooks (RECIPE=dapo_think for another of the five); results in outputs/
# make test   install what is missing and run the tests, the notebooks among them, two at a time
# make soak   every recipe on three seeds, each measured on 400 held-out problems, and the README's tables; four recipes through the notebooks; twenty kills, and three of one of two processes; ten healthy runs and four ill ones; models as other families have them, from the base to the export; a real one, trained for half an hour (an hour)
# make bench  one table of what a step, an evaluation, grading, the log and the start cost, most beside another way to do it (five minutes on an idle machine)
# make bench-gpu  steps on a card, ours beside plain TRL, into outputs/bench_gpu.md (MODEL=unsloth/Qwen3-1.7B for another model or a folder)
# make write  run the notebooks and store them, executed, in their place
# make address URL=https://github.com/you/name  write your copy's address into badges, set-up cells and README
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PARAMETERS := $(shell $(PYTHON) -m helpers.settings)
FLAGS = $(foreach name,$(PARAMETERS),$(if $(value $(name)),$(name)="$$$(name)"))
GIVEN := $(foreach name,$(.VARIABLES),$(if $(filter command line,$(origin $(name))),$(name)))
UNKNOWN := $(filter-out $(PARAMETERS) PYTHON VENV BIN ARGS URL MAKEFLAGS MAKEOVERRIDES -*,$(GIVEN))
$(if $(strip $(UNKNOWN)),$(error There is no parameter $(strip $(UNKNOWN)). There are $(PARAMETERS)))
# Values reach the shell as they are, never as a part of a command; make itself would read $ in them as its own
$(foreach name,$(PARAMETERS) URL,$(if $(filter command line,$(origin $(name))),$(eval override $(name) := $$(value $(name)))))
export $(filter $(PARAMETERS) URL,$(GIVEN))  # and no other: an empty RANK would be read by torch

.PHONY: run test soak bench bench-gpu write address
run: $(VENV)/.ready
	@$(BIN)/python -m helpers run $(FLAGS)

test: $(VENV)/.ready-for-tests
	@$(BIN)/ruff check && $(BIN)/ruff format --check -q
	@$(BIN)/python -m pytest -m "not soak" -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

soak: $(VENV)/.ready-for-tests
	@$(BIN)/python -m pytest -m soak -n 2 --dist loadfile --no-loadscope-reorder --timeout 0 $(ARGS)
	@$(BIN)/python -W ignore -m tests.results

bench: $(VENV)/.ready-for-tests
	@$(BIN)/python -W ignore -m tests.bench

bench-gpu: $(VENV)/.ready
	@$(BIN)/python -W ignore -m tests.bench_gpu --out outputs/bench_gpu.md $(if $(value MODEL),--model "$$MODEL")

write: $(VENV)/.ready
	@$(BIN)/python -m helpers run $(FLAGS) --write

address: $(VENV)/.ready
	@$(BIN)/python -m helpers address "$$URL"

$(VENV)/.ready: requirements.txt requirements-unsloth.txt
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; this is " + sys.version.split()[0] + ".\nRun make again with PYTHON=python3.12, say." if sys.version_info < (3, 11) else 0)'
	@echo "Installing into $(VENV) (once; a few minutes)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements.txt
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps -r requirements-unsloth.txt
	@touch $@

$(VENV)/.ready-for-tests: $(VENV)/.ready requirements-test.txt
	@$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements-test.txt
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps lm_eval==0.4.13  # of what it depends on, its filters need sacrebleu
	@touch $@
