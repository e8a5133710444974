# Everything here works from a fresh clone: the first target asked for builds what it needs.

CHECKPOINT = checkpoints/flickr8k-coco
NAME = captioner
VERSION = 1.0
# A version of its own gets a file of its own: the one that is served stays, and there is a way back.
FILE = $(NAME)$(if $(filter command,$(origin VERSION)),-$(VERSION)).mar
MODELS = $(FILE)
SAMPLE = examples/dog.jpg
OUT = runs/train
SPLIT = dev
CASES = 10000
SECONDS = 20
CLIENTS = 64
REQUESTS = 10000
RATE = 5
SEED = 0
PORTABLE = tests/model tests/checkpoints
# Of the tests of the engine, those whose numbers depend on the processor.
NUMBERS = $(addprefix tests/model/,test_network.py test_hybrid.py test_decoder.py test_layers.py test_captioner.py)
PYTHON := $(shell command -v python3.11 || command -v python3)

BIN := .venv/bin
ENV := .venv/.installed
ENV_DEV := .venv/.installed-dev
LOCKED := --constraint requirements.lock
STUBS := serving/inference_pb2.py
OPENMP := OMP_WAIT_POLICY=passive GOMP_SPINCOUNT=30000
ARCHIVE = $(BIN)/python -m archive --checkpoint "$(CHECKPOINT)" --name "$(NAME)" --version "$(VERSION)" \
	  --file "$(FILE)" $(if $(REVISION),--revision "$(REVISION)")
# Inputs of the archive that were given to make: without them, `make serve` keeps an archive as it is.
NAMED = $(strip $(foreach input,CHECKPOINT REVISION VERSION,$(filter command,$(origin $(input)))))

# Without an archive that is named, `make serve` goes on with the version that was rolled out.
KEPT = build/server/versions/$(NAME).json
GOES_ON = $(if $(NAMED),,test -f "$(FILE)" || $(if $(SERVED),,test -f "$(KEPT)" ||))
SERVED = $(if $(strip $(NAMED) $(filter command,$(origin MODELS))),--models $(MODELS))
VERSIONS = $(BIN)/python -m serving --name "$(NAME)"

.PHONY: help lock serve token caption stop archive rollout rollback status scale release chaos-rollout train evaluate bench bench-heatmaps load fuzz tables test lint check clean test-fast test-portable
.DELETE_ON_ERROR:

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*  ## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 21

serve: $(STUBS)  ## start the server and caption a photo; a missing archive is built [CHECKPOINT= …, or MODELS="a.mar b.mar"]
	@$(BIN)/python -m serving check
	@$(if $(filter $(FILE),$(MODELS)),$(GOES_ON) $(ARCHIVE),:)
	@$(VERSIONS) start $(SERVED) --sample "$(SAMPLE)"

token: $(STUBS)  ## print the key that clients send [NEW=1: another one; the one before is refused from then on]
	@$(BIN)/python -m serving token $(if $(NEW),--new)

caption: $(STUBS)  ## print the server's reply for a photo: make caption IMAGE=photo.jpg [OPTIONS="num_beams=3" GRPC=1]
	@test -n "$(IMAGE)" || { echo 'error: which photo? make caption IMAGE=photo.jpg' >&2; exit 1; }
	@$(BIN)/python -m serving --name "$(NAME)" caption "$(IMAGE)" $(OPTIONS) $(if $(GRPC),--grpc)

stop: $(STUBS)  ## let requests finish and end the server
	@$(BIN)/python -m serving stop

rollout: $(STUBS) $(if $(GATE),$(ENV_DEV))  ## serve a new version: make rollout MAR=captioner-2.0.mar [GATE=folder PHOTOS=folder BOUNDS="watch=60" DRY=1]
	@test -n "$(MAR)" || { echo 'error: roll out what? make rollout MAR=captioner-2.0.mar' >&2; exit 1; }
	@$(VERSIONS) rollout "$(MAR)" $(if $(PHOTOS),--photos "$(PHOTOS)") $(if $(GATE),--gate "$(GATE)" --split "$(SPLIT)") \
	  $(if $(BOUNDS),--bounds $(BOUNDS)) $(if $(DRY),--dry-run)

rollback: $(STUBS)  ## serve the version before again [DRY=1]
	@$(VERSIONS) rollback $(if $(DRY),--dry-run)

status: $(STUBS)  ## show versions, workers, and whether a photo gets a caption
	@$(VERSIONS) status

scale: $(STUBS)  ## change how many workers share the cores: make scale WORKERS=2 [DRY=1]
	@test -n "$(WORKERS)" || { echo 'error: how many workers? make scale WORKERS=2' >&2; exit 1; }
	@$(VERSIONS) scale "$(WORKERS)" $(if $(DRY),--dry-run)

release: $(STUBS)  ## unregister every version but the default [DRY=1]
	@$(VERSIONS) release $(if $(DRY),--dry-run)

archive: $(ENV)  ## build NAME.mar, or NAME-VERSION.mar [CHECKPOINT=folder or OWNER/NAME of the hub, REVISION= NAME= VERSION=]
	@$(ARCHIVE)

train: $(ENV_DEV)  ## train on photos with captions: make train DATA=folder [INIT=checkpoint CONFIG= OUT= ENCODER= DECODER= STEM=]
	@test -n "$(DATA)" || { echo 'error: train on what? make train DATA=folder' >&2; exit 1; }
	@$(OPENMP) $(BIN)/python -m training captions --data "$(DATA)" --out "$(OUT)" \
	  $(if $(INIT),--init "$(INIT)") $(if $(CONFIG),--config "$(CONFIG)") \
	  $(if $(ENCODER),--encoder "$(ENCODER)") $(if $(DECODER),--decoder "$(DECODER)") $(if $(STEM),--stem "$(STEM)")

evaluate: $(ENV_DEV)  ## score captions: make evaluate DATA=folder [CHECKPOINT=folder or .mar, or SERVER=url NAME=; SPLIT=dev SCORES=.json REPORT=.html SPICE=1]
	@test -n "$(DATA)" || { echo 'error: evaluate on what? make evaluate DATA=folder' >&2; exit 1; }
	@$(OPENMP) $(BIN)/python -m training evaluate --data "$(DATA)" --split "$(SPLIT)" \
	  $(if $(SERVER),--server "$(SERVER)" --name "$(NAME)",--checkpoint "$(CHECKPOINT)") \
	  $(if $(SCORES),--out "$(SCORES)") $(if $(REPORT),--report "$(REPORT)") $(if $(SPICE),--spice)

bench: $(ENV_DEV) $(STUBS)  ## measure engine and server, best on a quiet machine [CHECKPOINT= PHOTOS=folder]
	@$(OPENMP) $(BIN)/python -m bench --checkpoint "$(CHECKPOINT)" $(if $(PHOTOS),--photos "$(PHOTOS)")

bench-heatmaps: $(ENV_DEV)  ## train a captioner of drawn shapes and score the heatmaps on it
	@$(OPENMP) $(BIN)/python -m bench.heatmaps

load: $(ENV_DEV) $(STUBS)  ## more and more clients for the running server, until it is full [NAME= SECONDS=20 CLIENTS=64]
	@$(BIN)/python -m bench.load --name "$(NAME)" --seconds "$(SECONDS)" --most "$(CLIENTS)"

fuzz: $(ENV_DEV) $(STUBS)  ## send a server bad requests of all kinds, good photos among them [CASES=10000 SEED=0 CHECKPOINT=]
	@$(OPENMP) $(BIN)/python -m fuzz --checkpoint "$(CHECKPOINT)" --cases "$(CASES)" --seed "$(SEED)"

chaos-rollout: $(ENV_DEV) $(STUBS)  ## versions come and go, a worker is killed, and clients keep asking [REQUESTS=10000 RATE=5 CHECKPOINT=]
	@$(OPENMP) $(BIN)/python -m chaos --checkpoint "$(CHECKPOINT)" --requests "$(REQUESTS)" --rate "$(RATE)"

tables: $(ENV)  ## write the fields of a request into docs/ and handler/openapi.yaml
	@$(BIN)/python -m docs.tables

test: $(ENV_DEV) $(STUBS)  ## run the tests, in a random order that is printed
	$(BIN)/python -m pytest

test-fast: $(ENV_DEV) $(STUBS)  ## run the tests of engine and handler, not those of the weights that ship
	$(BIN)/python -m pytest -q tests/model tests/handler

test-portable: $(ENV_DEV)  ## run the tests of the engine as other processors would [PORTABLE="tests/model"]
	ATEN_CPU_CAPABILITY=default $(BIN)/python -m pytest -q $(PORTABLE)
	ATEN_CPU_CAPABILITY=avx2 $(BIN)/python -m pytest -q $(PORTABLE)
	ONEDNN_MAX_CPU_ISA=AVX2 TEST_THREADS=1 $(BIN)/python -m pytest -q $(PORTABLE)
	ONEDNN_MAX_CPU_ISA=AVX2 TEST_THREADS=2 OMP_WAIT_POLICY=passive $(BIN)/python -m pytest -q $(PORTABLE)

lint: $(ENV_DEV) $(STUBS)  ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

lock:  ## after a change in requirements*.txt: install it, and note all versions in requirements.lock
	@$(BIN)/python -m pip install --disable-pip-version-check --requirement requirements.txt --requirement requirements-dev.txt
	@$(BIN)/python -m pip --disable-pip-version-check list --format=freeze --exclude pip --exclude captioner > $@.new
	@{ echo '# Everything that is installed: `make lock` writes it, and pip is held to it.'; sed 's/+.*//' $@.new; } \
	  > requirements.lock
	@rm $@.new

check: lint test  ## lint and test, also as on other processors: what has to pass before a change goes in
	@$(MAKE) --no-print-directory test-portable PORTABLE="$(NUMBERS)"

clean:  ## remove what was built; .venv stays
	rm -rf build *.mar serving/*_pb2* .pytest_cache .mypy_cache .ruff_cache

$(ENV): requirements.txt requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null || \
	  { echo 'error: "$(PYTHON)" is not Python 3.11: install that, or say make PYTHON=/path/to/python3.11' >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check --requirement $< $(LOCKED)
	@touch $@

$(ENV_DEV): requirements-dev.txt $(ENV)
	$(BIN)/python -m pip install --disable-pip-version-check --requirement requirements.txt --requirement $< $(LOCKED)
	@touch $@

$(STUBS): serving/inference.proto $(ENV)
	@$(BIN)/python -m grpc_tools.protoc --proto_path=. --python_out=. --pyi_out=. --grpc_python_out=. $<
