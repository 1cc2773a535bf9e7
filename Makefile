# The verbs of the suite. `make` creates .venv and installs on first use; `sta-tsn VERB --help`
# says the same. Variables are given on the command line:
# make train DATASET=jhmdb DATA=/path/to/jhmdb SPLIT=2

DATASET  ?= demo
SPLIT    ?= 1
MODALITY ?= rgb
MODEL    ?= sta_tsn
DEVICES  ?= auto
NODES    ?= 1
RUNS     ?= runs
SEED     ?= 0
SEEDS    ?= 0
FORMAT   ?= onnx
PYTHON   ?= python3
BIN      ?= .venv$(if $(LOCKED),-locked)$(if $(NEWEST),-newest)/bin
STA_TSN   = $(BIN)/sta-tsn

define VARIABLES
  Variables:
    DATASET=demo|ucf101|hmdb51|jhmdb|thumos14|kinetics400|something_v1|something_v2|
            folder|sbu|jhmdb_joints
    MODEL=sta_tsn|tsn|smnet|stin|sta_lstm|ablations|interference|probe
    MODALITY=rgb|flow|two-stream BACKBONE=timm name WEIGHTS=imagenet|none|file
    DATA=path RUNS=runs EXPERIMENTS=folder of recipes SPLIT=1 SEED=0 ALLOW_MISSING=1
    DEVICES=auto NODES=1 WORKERS=2 PAIRS_AT_ONCE=64 (make flow)
    FEATURES=store SHOTS="1 5 10 20" (MODEL=probe)
    LOCKED=1 (exact versions with hashes: .requirements.lock, into .venv-locked; Python 3.11)
    NEWEST=1 (the newest versions of everything, into .venv-newest)
    EPOCHS=5 SET="model.lr=0.001 data.batch_size=32 trainer.precision=bf16-mixed" (any argument)
endef
export VARIABLES

experiments   = $(if $(EXPERIMENTS),--experiments "$(EXPERIMENTS)")
one_dataset   = --dataset "$(DATASET)" $(if $(DATA),--data "$(DATA)") --runs "$(RUNS)" \
                $(experiments)
allow_missing = $(if $(filter-out 0,$(ALLOW_MISSING)),--allow-missing)
all_splits    = $(one_dataset) $(allow_missing)
data_options  = $(all_splits) --split $(SPLIT)
on_devices    = --devices $(DEVICES) --nodes $(NODES)
workers       = $(if $(WORKERS),--workers $(WORKERS))
weights       = $(if $(WEIGHTS),--weights "$(WEIGHTS)")
train_options = --modality "$(MODALITY)" --model "$(MODEL)" $(on_devices) $(workers) $(weights) \
                $(if $(BACKBONE),--backbone "$(BACKBONE)") $(if $(EPOCHS),--epochs $(EPOCHS)) \
                $(if $(SET),--set $(SET)) $(if $(FEATURES),--features "$(FEATURES)") \
                $(if $(SHOTS),--shots $(SHOTS))
of_frozen     = --backbone "$(BACKBONE)" $(all_splits) $(weights) $(on_devices) $(workers) \
                $(if $(KEPT),--kept $(KEPT)) $(if $(CROPS),--crops $(CROPS)) \
                $(if $(SPLITS),--splits $(SPLITS)) $(if $(SEGMENTS),--segments $(SEGMENTS))
checkpoint    = $(or $(CKPT),$(error give CKPT=runs/.../checkpoints/last.ckpt))
second        = $(if $(CKPT2),--and "$(CKPT2)")
videos        = $(or $(VIDEOS),$(error give VIDEOS="a.mp4 folder list.txt"))
out           = $(if $(OUT),--out "$(OUT)")
pip           = $(BIN)/python -m pip install --quiet --disable-pip-version-check
given         = $(filter command,$(origin $(1)))

.DEFAULT_GOAL := help
.PHONY: help train reproduce report test test-faults data flow features bench check-data evaluate
.PHONY: fuse predict explain demo export sweep notebook lint format audit

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  %-11s %s\n", $$1, $$2} \
	  /^#: /{printf "  %-11s   %s\n", "", substr($$0, 4)}' $(MAKEFILE_LIST)
	@echo; echo "$$VARIABLES"

train: $(BIN)/.installed ## train and test the rows of the model's table, write the report
	$(if $(call given,SPLITS)$(call given,SEEDS),$(error make train takes one SPLIT and SEED; \
	  make reproduce takes several))
	$(if $(call given,PAIRS_AT_ONCE),$(error make flow takes PAIRS_AT_ONCE; run it first))
	$(STA_TSN) train $(data_options) $(train_options) --seed $(SEED)

reproduce: $(BIN)/.installed ## the paper's tables and figures with statistics
#: make reproduce SPLITS="1 2 3" SEEDS="0 1 2"; of MODEL=interference UNRELATED="folder ..."
	$(if $(call given,SPLIT)$(call given,SEED),$(error make reproduce takes SPLITS="1 2 3" \
	  and SEEDS="0 1 2"))
	$(STA_TSN) reproduce $(all_splits) $(train_options) $(if $(SPLITS),--splits $(SPLITS)) \
	  --seeds $(SEEDS) $(if $(UNRELATED),--unrelated $(UNRELATED))

report: $(BIN)/.installed ## rebuild the report of reproduce from the score tables that are there
	$(STA_TSN) report --dataset "$(DATASET)" --model "$(MODEL)" --runs "$(RUNS)"

test: $(BIN)/.installed ## the project's tests
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-faults: $(BIN)/.installed ## try to break the suite; the table is tests/README.md
#: make test-faults [SHORT=1] [ONLY="kills disks"] [SHARE=0.2] [SHARED_DATA=folder of real videos]
	$(BIN)/python tests/faults/run_faults.py $(if $(SHORT),--short) --seed $(SEED) \
	  $(if $(ONLY),--only $(ONLY)) $(if $(SHARE),--share $(SHARE))

data: $(BIN)/.installed ## download and unpack the archives of a dataset
	$(STA_TSN) data $(one_dataset)

flow: $(BIN)/.installed ## TV-L1 optical flow of the videos of SPLIT, stored once
	$(STA_TSN) flow $(data_options) $(on_devices) \
	  $(if $(PAIRS_AT_ONCE),--pairs-at-once $(PAIRS_AT_ONCE))

features: $(BIN)/.installed ## features of videos, stored once
#: make features BACKBONE=timm name DATASET=... [KEPT=pooled|map|both] [CROPS=10] [SPLITS="1 2"]
#: make features BACKBONE=transformers:name DATASET=... [SEGMENTS=1] (V-JEPA 2, VideoMAE)
#: make features RUN=runs/<dataset>/split1/<model>/rgb/seed0/backbone
	$(STA_TSN) features $(or $(if $(RUN),"$(RUN)"),$(if $(BACKBONE),$(of_frozen)), \
	  $(error give BACKBONE=timm name, or RUN=runs/.../backbone))

bench: $(BIN)/.installed ## the benchmarks, on real clips: make bench JHMDB=path UCF101=path
	$(BIN)/python experiments/benchmarks/cost.py
	$(BIN)/python experiments/benchmarks/attention.py
	$(BIN)/python experiments/benchmarks/sta_lstm.py
	$(if $(UCF101),$(BIN)/python experiments/benchmarks/data.py DATA="$(UCF101)")
	$(if $(JHMDB)$(UCF101),$(BIN)/python experiments/benchmarks/input.py $(if $(JHMDB),JHMDB="$(JHMDB)") \
	  $(if $(UCF101),UCF101="$(UCF101)") OUT="$(RUNS)/benchmarks/input")
	$(if $(JHMDB),$(BIN)/python experiments/benchmarks/flow.py DATA="$(JHMDB)" \
	  OUT="$(RUNS)/benchmarks/flow")

check-data: $(BIN)/.installed ## compare with what is published; name what is missing or broken
	$(STA_TSN) check-data $(one_dataset)

evaluate: $(BIN)/.installed ## accuracy from score tables
#: make evaluate SCORES="a/scores.npz b/scores.npz"
	$(STA_TSN) evaluate $(or $(SCORES),$(error give SCORES="a/scores.npz ..."))

fuse: $(BIN)/.installed ## join the scores of runs: make fuse RUNS="a b" [WEIGHTS="1 1.5"]
	$(STA_TSN) fuse $(if $(filter file,$(origin RUNS)),$(error give RUNS="a b"),$(RUNS)) \
	  $(if $(WEIGHTS),--weights $(WEIGHTS))

predict: $(BIN)/.installed ## class probabilities of any videos
#: make predict VIDEOS="a.mp4 folder list.txt" CKPT=.../last.ckpt [CKPT2=flow's] [OUT=folder]
	$(STA_TSN) predict $(videos) --checkpoint "$(checkpoint)" $(second) \
	  $(if $(TOP),--top $(TOP)) $(if $(CROPS),--crops $(CROPS)) \
	  $(if $(WINDOW_SEC),--window_sec $(WINDOW_SEC)) \
	  $(if $(STRIDE_SEC),--stride_sec $(STRIDE_SEC)) $(out)

explain: $(BIN)/.installed ## a page for each video: the answer, where and when the network looked
#: make explain VIDEOS="a.mp4 folder" CKPT=.../last.ckpt [CKPT2=flow's] [OUT=folder]
#: make explain VIDEO=clip.mp4 CKPT=.../last.ckpt (one picture)
	$(STA_TSN) explain $(if $(VIDEOS),$(VIDEOS) --checkpoint "$(checkpoint)" $(second) $(out), \
	  "$(or $(VIDEO),$(videos))" "$(checkpoint)")

demo: $(BIN)/.installed ## a page on this machine alone that takes videos and explains each
#: make demo CKPT=.../last.ckpt [CKPT2=flow's] [PORT=7860]
	$(STA_TSN) demo "$(checkpoint)" $(second) $(if $(PORT),--port $(PORT))

export: $(BIN)/.installed ## a checkpoint's network as a file that runs without this suite
#: make export CKPT=.../last.ckpt VIDEOS="a.mp4 folder" [FORMAT=onnx|torch_export] [OUT=file]
	$(STA_TSN) export "$(checkpoint)" --videos $(videos) --format $(FORMAT) $(out)

sweep: $(BIN)/.installed ## the trials of a W&B sweep file, without a server
#: make sweep SWEEP=experiments/sweeps/demo_grid.yaml
	$(STA_TSN) sweep "$(or $(SWEEP),$(error give SWEEP=experiments/sweeps/<name>.yaml))" \
	  --devices $(DEVICES) --runs "$(RUNS)"

notebook: $(BIN)/.installed ## execute the notebooks on the runs of DATASET, into RUNS/notebooks
	@failed=; for notebook in notebooks/*.ipynb; do \
	  RUNS="$(RUNS)/$(DATASET)" DATA="$(DATA)" \
	  PYTHONWARNINGS="ignore:IProgress not found,ignore:install" $(BIN)/jupyter-nbconvert \
	    --to html --execute --output-dir "$(RUNS)/notebooks" $$notebook \
	  || failed="$$failed $$notebook"; \
	done; \
	test -z "$$failed" || { \
	  echo "Failed:$$failed; the last lines above each traceback say why."; exit 1; }

lint: $(BIN)/.installed ## ruff: rules and format
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

format: $(BIN)/.installed ## let ruff mend what it can
	$(BIN)/ruff check --fix . && $(BIN)/ruff format .

audit: $(BIN)/.installed ## known security holes of the installed packages, by OSV's list
	@said=$$(mktemp); trap 'rm -f "$$said"' EXIT; \
	$(BIN)/pip-audit --vulnerability-service osv --skip-editable --progress-spinner off \
	  2>"$$said" && status=0 || status=$$?; \
	if grep -Eqi 'connectionerror|could not connect|timed? ?out' "$$said"; then \
	  echo "Not audited: OSV's list of known holes (api.osv.dev) is out of reach." >&2; exit 3; \
	fi; \
	cat "$$said" >&2; exit $$status

$(BIN)/.installed: setup.cfg pyproject.toml $(if $(LOCKED),.requirements.lock) $(if $(NEWEST),FORCE)
	test -x $(BIN)/python || $(PYTHON) -m venv $(patsubst %/bin,%,$(BIN))
	$(if $(LOCKED),$(pip) --require-hashes --requirement .requirements.lock)
	$(pip) $(if $(LOCKED),--no-deps --no-build-isolation --editable .,--editable '.[dev]') \
	  $(if $(NEWEST),--upgrade --upgrade-strategy eager)
	@touch $@

FORCE: # looked for at each `make ... NEWEST=1`
