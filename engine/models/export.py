"""Write a model as a GGUF file for llama.cpp, Ollama and LM Studio, and ask llama.cpp about it."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from engine.backends.llama.messages import Quantization
from engine.backends.llama.weights import GGUF, find_model
from engine.core.types import Message

if TYPE_CHECKING:
    from engine.backends.llama.unpack import Show

MODELFILE = "Modelfile"
GGUF_KINDS: dict[str, Quantization] = {"f16": "none", "q8_0": "int8", "q4_k_m": "nf4"}
"""Our quantizations by llama.cpp's names; f16 is the 16 bits that the weights have."""
SERVE_GGUF = f"""\
llama.cpp gives {{same}} of {{asked}} answers the same. Serve the file with one of

- llama.cpp: `llama-server -m {GGUF} --temp 0`
- Ollama: `ollama create NAME -f {MODELFILE}`, which has the system prompt and the temperature
- LM Studio: copy the file to `models/mine/NAME/` in its folder, and set both there"""
_MODELFILE = f'''\
FROM ./{GGUF}
PARAMETER temperature 0
SYSTEM """{{system}}"""
'''
_CONTEXT = 2048
_PATIENCE = 600.0
"""Seconds for llama.cpp's answer to one prompt."""


def export_gguf(folder: Path, title: str, kind: str, system: str, show: Show) -> None:
    """Put one GGUF file in the place of a model's weights, with a Modelfile for Ollama."""
    from engine.backends.llama.gguf import write_model

    model = find_model(str(folder), "base")
    write_model(model, folder / GGUF, GGUF_KINDS[kind], show, title)
    for file in (*model.weights, *folder.glob("*.index.json")):
        file.unlink()
    (folder / MODELFILE).write_text(_MODELFILE.format(system=system), encoding="utf-8")


@contextmanager
def llama_cpp(file: Path, most: int) -> Iterator[Callable[[Sequence[Message]], tuple[int, str]]]:
    """Load the file as other programs do; yield a function that answers a prompt, greedily.

    It returns the tokens of the prompt, by the file's own chat template and tokenizer, and up to
    `most` tokens of text.
    """
    import xllamacpp

    values = xllamacpp.CommonParams()
    values.model.path = str(file)
    values.n_ctx, values.n_parallel, values.verbosity = _CONTEXT, 1, -1
    values.warmup, values.cache_ram_mib = False, 0
    values.api_keys = [key := secrets.token_urlsafe(32)]
    server = xllamacpp.Server(values)
    address = urlsplit(server.listening_address)

    def ask(prompt: Sequence[Message]) -> tuple[int, str]:
        turns = [{"role": one.role.value, "content": one.content} for one in prompt]
        asked = {"messages": turns, "temperature": 0, "max_tokens": most}
        connection = HTTPConnection(address.hostname or "", address.port, timeout=_PATIENCE)
        with closing(connection):
            headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
            connection.request("POST", "/v1/chat/completions", json.dumps(asked), headers)
            reply = json.loads(connection.getresponse().read())
        return reply["usage"]["prompt_tokens"], reply["choices"][0]["message"]["content"]

    yield ask
