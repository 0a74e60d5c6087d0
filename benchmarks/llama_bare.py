"""Run a Llama with the bare library, for llama.py: read jobs from stdin, print their seconds.

A job is a line of JSON: {"prompt": [tokens], "tokens": how many to write}. Only the model stays
loaded between jobs.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.backends.llama.weights import FP32_UP_TO, resolve_quantization

Job = Callable[[list[int], int], None]


def transformers_job(model: str, adapter: str | None, threads: int) -> Job:
    """Call plain `generate`, on the device and with the weights that the engine uses."""
    import torch
    from transformers import GenerationConfig, LlamaForCausalLM

    from engine.backends.llama.loading import quantization_config

    torch.set_num_threads(threads)
    size = sum(file.stat().st_size for file in Path(model).glob("*.safetensors"))
    on_gpu = torch.cuda.is_available()
    quantization = resolve_quantization("auto", size, supported=on_gpu)
    loaded: Any = LlamaForCausalLM.from_pretrained(
        model,
        dtype=torch.float32 if size <= FP32_UP_TO else "auto",
        device_map={"": 0 if on_gpu else "cpu"},
        quantization_config=quantization_config(quantization),
        local_files_only=True,
    )
    if adapter:
        from peft import PeftModel

        loaded = PeftModel.from_pretrained(loaded, adapter)
    loaded.eval()
    loaded.generation_config = GenerationConfig()

    def job(prompt: list[int], tokens: int) -> None:
        ids = torch.tensor([prompt], device=loaded.device)
        wanted = GenerationConfig(
            max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False, pad_token_id=0
        )
        with torch.inference_mode():
            loaded.generate(ids, attention_mask=torch.ones_like(ids), generation_config=wanted)
        if on_gpu:
            torch.cuda.synchronize()

    # A token reads every weight, but only one row of the embedding.
    embedding = loaded.get_input_embeddings().weight
    job.bytes = loaded.get_memory_footprint() - embedding.nbytes  # type: ignore[attr-defined]
    return job


def llama_cpp_job(file: str, adapter: str | None, threads: int) -> Job:
    """Call xllamacpp's server in this process, with the settings of the engine."""
    import xllamacpp

    values = xllamacpp.CommonParams()
    values.model.path = file
    values.n_ctx, values.n_parallel = 4096, 1
    values.n_batch = values.n_ubatch = 64
    values.cpuparams.n_threads = values.cpuparams_batch.n_threads = threads
    values.cache_ram_mib, values.no_extra_bufts, values.warmup = 0, True, False
    values.verbosity, values.ui = -1, False
    if adapter:
        values.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(adapter, 1.0)]
    server = xllamacpp.Server(values)

    def job(prompt: list[int], tokens: int) -> None:
        asked = {"prompt": prompt, "n_predict": tokens, "temperature": 0, "stream": True}
        asked |= {"ignore_eos": True, "cache_prompt": False}
        server.handle_completions(asked, lambda _chunk: None)

    return job


def resident() -> int:
    """Return this process's memory in bytes."""
    with open("/proc/self/status", encoding="ascii") as lines:  # noqa: PTH123 - no pathlib here
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))


def main(runtime: str, model: str, threads: int, adapter: str | None) -> None:
    """Load the model, print its size, and run jobs until stdin ends."""
    make = llama_cpp_job if runtime == "llama.cpp" else transformers_job
    job = make(model, adapter, threads)
    print(json.dumps({"bytes": getattr(job, "bytes", 0)}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        started = time.perf_counter()
        job(request["prompt"], request["tokens"])
        took = time.perf_counter() - started
        print(json.dumps({"seconds": took, "resident": resident()}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), next(iter(sys.argv[4:]), None))
