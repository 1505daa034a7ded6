# One command each, from a bare clone; quick the second time.
PYTHON ?= python3
BIN := .venv/bin
ROOMS := agent audio demo llm tools
STAMP := .venv/.stretto-installed

.PHONY: setup demo demo-home test bars lint clean
setup: $(STAMP)

# A strict editable install links files one by one, so a new file needs a new install.
$(STAMP): pyproject.toml constraints.txt $(wildcard $(shell git ls-files $(ROOMS) 2>/dev/null))
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	test -e $(STAMP) || $(BIN)/python -m pip install --quiet --upgrade pip
	test -e $(STAMP) || $(BIN)/python -m pip install --quiet -c constraints.txt torch
	$(BIN)/python -m pip install --quiet -c constraints.txt --config-settings editable_mode=strict -e '.[mic,mqtt,train,dev]'
	# amqtt pins a websockets of its own; over TCP, as the demo's broker listens, it uses none.
	$(BIN)/python -m pip install --quiet -c constraints.txt --no-deps amqtt
	touch $(STAMP)

demo: setup
	$(BIN)/stretto demo --out demo/out

demo-home: setup
	$(BIN)/stretto demo-home

# Two at a time: half of the tests wait for audio in real time.
test: setup
	$(BIN)/python -m pytest -q -n 2 --dist loadfile

bars: setup
	$(BIN)/python -m pytest -q -m bars

lint: setup
	$(BIN)/ruff check $(ROOMS) tests
	$(BIN)/mypy -p stretto.agent -p stretto.audio -p stretto.demo -p stretto.llm -p stretto.tools

clean:
	rm -rf .venv .peers build dist *.egg-info demo/out
