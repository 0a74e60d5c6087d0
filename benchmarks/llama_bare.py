"""Run a Llama with the bare library, for llama.py: read jobs from stdin, print their seconds.

A job is a line of JSON: {"prompt": [tokens], "tokens": how many to write}. Only the model stays
loaded between jobs.
"""

from __future__ import annotations

import ctypes
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
    """Run llama.cpp's plain loop: decode, take the likeliest token, decode."""
    import llama_cpp

    silent = llama_cpp.llama_log_callback(lambda _level, _text, _data: None)
    llama_cpp.llama_log_set(silent, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    loading = llama_cpp.llama_model_default_params()
    loading.use_extra_bufts = False
    model = llama_cpp.llama_model_load_from_file(file.encode(), loading)
    parameters = llama_cpp.llama_context_default_params()
    parameters.n_ctx = 1024
    parameters.n_threads = parameters.n_threads_batch = threads
    context: Any = llama_cpp.llama_init_from_model(model, parameters)
    if adapter:
        lora: Any = llama_cpp.llama_adapter_lora_init(model, adapter.encode())
        adapters = (llama_cpp.llama_adapter_lora_p_ctypes * 1)(lora)
        llama_cpp.llama_set_adapters_lora(context, adapters, 1, (ctypes.c_float * 1)(1.0))
    chain: Any = llama_cpp.llama_sampler_chain_init(llama_cpp.llama_sampler_chain_default_params())
    llama_cpp.llama_sampler_chain_add(chain, llama_cpp.llama_sampler_init_greedy())

    def read(tokens: list[int]) -> None:
        batch = (llama_cpp.llama_token * len(tokens))(*tokens)
        one = llama_cpp.llama_batch_get_one(batch, len(tokens))
        if llama_cpp.llama_decode(context, one):
            raise SystemExit("llama_decode failed")

    def job(prompt: list[int], tokens: int) -> None:
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), False)
        read(prompt)
        for place in range(tokens):
            token = llama_cpp.llama_sampler_sample(chain, context, -1)
            if place < tokens - 1:
                read([token])

    # Keeps the callback alive: llama.cpp stores only its address.
    job.silent = silent  # type: ignore[attr-defined]
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
