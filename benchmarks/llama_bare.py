"""The library under a Llama engine, by itself: reads jobs from stdin, prints seconds. For llama.py.

A job is a line of JSON: {"prompt": [tokens], "tokens": how many to write}. Nothing is kept from one
job to the next but the model.
"""

from __future__ import annotations

import ctypes
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.backends.llama.runtimes import FP32_UP_TO, QUANTIZED_ABOVE

Job = Callable[[list[int], int], None]


def transformers_job(model: str, adapter: str | None, threads: int) -> Job:
    """`generate` as it is, where our engine computes, with the weights as it holds them."""
    import torch
    from transformers import BitsAndBytesConfig, GenerationConfig, LlamaForCausalLM

    torch.set_num_threads(threads)
    size = sum(file.stat().st_size for file in Path(model).glob("*.safetensors"))
    on_gpu = torch.cuda.is_available()
    nf4 = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    loaded: Any = LlamaForCausalLM.from_pretrained(
        model,
        dtype=torch.float32 if size <= FP32_UP_TO else "auto",
        device_map={"": 0 if on_gpu else "cpu"},
        quantization_config=nf4 if on_gpu and size > QUANTIZED_ABOVE else None,
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

    # A token reads every weight but of the embedding, of which it reads a row.
    embedding = loaded.get_input_embeddings().weight
    job.bytes = loaded.get_memory_footprint() - embedding.nbytes  # type: ignore[attr-defined]
    return job


def llama_cpp_job(file: str, adapter: str | None, threads: int) -> Job:
    """llama.cpp's own loop: decode, take the likeliest, decode."""
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

    # Kept alive with the job, since llama.cpp keeps only its address.
    job.silent = silent  # type: ignore[attr-defined]
    return job


def resident() -> int:
    """This process's memory, bytes."""
    with open("/proc/self/status", encoding="ascii") as lines:  # noqa: PTH123 - no pathlib here
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))


def main(runtime: str, model: str, threads: int, adapter: str | None) -> None:
    """Load, say so, and carry out jobs until stdin ends."""
    make = llama_cpp_job if runtime == "llama.cpp" else transformers_job
    job = make(model, adapter, threads)
    print(json.dumps({"bytes": getattr(job, "bytes", 0)}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        started = time.perf_counter()
        job(asked["prompt"], asked["tokens"])
        took = time.perf_counter() - started
        print(json.dumps({"seconds": took, "resident": resident()}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), next(iter(sys.argv[4:]), None))
