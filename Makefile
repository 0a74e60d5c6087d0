# The two commands of the README, and the packages of two extras: a Llama on a GPU, and training.
# A marker file in .venv says that a purpose is installed; it is renewed when the needs change.

.PHONY: chat test gpu-env train-env
.SILENT:

# The first Python on the PATH that is new enough.
FIND_PYTHON = for p in $(PYTHON) python3 python3.14 python3.13 python3.12 python3.11 python; do \
	if "$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
	echo "$$p"; exit; fi; done
INSTALL = python=$$($(FIND_PYTHON)); \
	if [ -z "$$python" ]; then \
	echo 'Python 3.11 or newer is needed, and none was found. Install it, or name it: make PYTHON=/path/to/python3.12 $*' >&2; \
	exit 1; fi; "$$python" tools/install.py

chat: .venv/.chat-ready
	exec .venv/bin/balcao $(ARGS)

test: .venv/.test-ready
	.venv/bin/python -m tools.check

gpu-env: .venv/.gpu-ready

train-env: .venv/.train-ready

.venv/.%-ready: pyproject.toml constraints.txt
	$(INSTALL) $*
