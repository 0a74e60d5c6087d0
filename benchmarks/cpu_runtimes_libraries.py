"""The libraries that cpu_runtimes.py measures, each behind the same two methods.

Imported by the interpreter of whatever environment a library is in, so nothing of this project is
imported, and of each library only what its own class needs.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from contextlib import nullcontext
from importlib import import_module
from typing import Any, Protocol

Tick = Callable[[], None]


class Library(Protocol):
    """What each of the classes below can do."""

    def use(self, *, adapter: bool) -> None:
        """Answer with the adapter from now on, or without."""

    def write(self, prompt: list[int], tokens: int, tick: Tick) -> list[int]:
        """That many tokens, each the likeliest; `tick` is called at each one."""


class LlamaCpp:
    """llama.cpp through llama-cpp-python's plain functions, set as our engine sets it."""

    def __init__(self, job: dict[str, Any]) -> None:
        import llama_cpp

        self._lib = lib = llama_cpp
        # Held here, since llama.cpp keeps only its address.
        self._silent = lib.llama_log_callback(lambda _level, _text, _data: None)
        lib.llama_log_set(self._silent, ctypes.c_void_p(0))
        lib.llama_backend_init()
        loading = lib.llama_model_default_params()
        loading.use_extra_bufts = job["repacked"]
        self._model = lib.llama_model_load_from_file(job["model"].encode(), loading)
        wanted = lib.llama_context_default_params()
        wanted.n_ctx = job["context"]
        wanted.n_batch = wanted.n_ubatch = 128
        wanted.n_outputs_max = 1
        if job["whole_cache"]:
            wanted.type_k = wanted.type_v = lib.GGML_TYPE_F32
        wanted.n_threads = wanted.n_threads_batch = job["threads"]
        self._context: Any = lib.llama_init_from_model(self._model, wanted)
        self._lora: Any = None
        if job["adapter"]:
            self._lora = lib.llama_adapter_lora_init(self._model, job["adapter"].encode())
        chain = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
        lib.llama_sampler_chain_add(chain, lib.llama_sampler_init_greedy())
        self._chain: Any = chain

    def use(self, *, adapter: bool) -> None:
        """As `Library` says."""
        adapters = (self._lib.llama_adapter_lora_p_ctypes * 1)(self._lora)
        scale = (ctypes.c_float * 1)(1.0)
        self._lib.llama_set_adapters_lora(self._context, adapters, int(adapter), scale)

    def write(self, prompt: list[int], tokens: int, tick: Tick) -> list[int]:
        """As `Library` says."""
        self._lib.llama_memory_clear(self._lib.llama_get_memory(self._context), False)
        for start in range(0, len(prompt), 128):
            self._read(prompt[start : start + 128])
        written: list[int] = []
        while True:
            written.append(self._lib.llama_sampler_sample(self._chain, self._context, -1))
            tick()
            if len(written) == tokens:
                return written
            self._read(written[-1:])

    def _read(self, tokens: list[int]) -> None:
        batch = (self._lib.llama_token * len(tokens))(*tokens)
        if self._lib.llama_decode(self._context, self._lib.llama_batch_get_one(batch, len(tokens))):
            raise SystemExit("llama_decode failed")


class Torch:
    """transformers as it is, or compiled, or quantized by torchao, or both."""

    def __init__(self, job: dict[str, Any]) -> None:
        import torch
        from transformers import GenerationConfig, LlamaForCausalLM

        torch.set_num_threads(job["threads"])
        torch.manual_seed(0)
        self._torch = torch
        self._model: Any = LlamaForCausalLM.from_pretrained(
            job["model"],
            dtype=getattr(torch, job["dtype"]),
            local_files_only=True,
            **_quantized(job["bits"]),
        )
        if job["adapter"]:
            from peft import PeftModel

            self._model = PeftModel.from_pretrained(self._model, job["adapter"])
        self._model.eval()
        self._model.generation_config = GenerationConfig()
        self._adapter = True
        self._more: dict[str, Any] = {}
        if job["compiled"]:
            from transformers import CompileConfig

            compiling = CompileConfig(mode=None, fullgraph=False)
            # Else transformers compiles for a GPU alone.
            compiling._compile_all_devices = True  # noqa: SLF001 - there is no other way
            # A static cache, or each token has other shapes than the one before.
            self._more = {
                "cache_implementation": "static",
                "max_length": job["room"],
                "compile_config": compiling,
            }

    def use(self, *, adapter: bool) -> None:
        """As `Library` says."""
        self._adapter = adapter

    def write(self, prompt: list[int], tokens: int, tick: Tick) -> list[int]:
        """As `Library` says."""
        from transformers import GenerationConfig
        from transformers.generation.streamers import BaseStreamer

        class Ticking(BaseStreamer):  # type: ignore[misc] # untyped library
            prompt = True

            def put(self, _value: Any) -> None:  # noqa: ANN401 - a tensor
                if not self.prompt:
                    tick()
                self.prompt = False

            def end(self) -> None:
                """Nothing is held back."""

        ids = self._torch.tensor([prompt])
        wanted = GenerationConfig(
            max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False, pad_token_id=0,
            **self._more,
        )  # fmt: skip
        with (
            self._torch.inference_mode(),
            nullcontext() if self._adapter else self._model.disable_adapter(),
        ):
            said = self._model.generate(
                input_ids=ids,
                attention_mask=self._torch.ones_like(ids),
                generation_config=wanted,
                streamer=Ticking(),
            )
        found: list[int] = said[0, len(prompt) :].tolist()
        return found

    def margins(self, prompt: list[int], said: list[int]) -> list[float]:
        """By how much each token was likelier than the second, in logits."""
        ids = self._torch.tensor([prompt + said])
        plain = nullcontext() if self._adapter else self._model.disable_adapter()
        with self._torch.inference_mode(), plain:
            logits = self._model(input_ids=ids).logits[0, len(prompt) - 1 : -1]
        best = logits.topk(2).values
        found: list[float] = (best[:, 0] - best[:, 1]).tolist()
        return found


def _quantized(bits: int | None) -> dict[str, Any]:
    """How from_pretrained is told to quantize by torchao; weights alone."""
    if bits is None:
        return {}
    from transformers import TorchAoConfig

    if bits == 8:
        given = import_module("torchao.quantization").Int8WeightOnlyConfig()
    else:
        # Of 0.18's four bits, the released ones are for GPUs; a CPU's are a prototype.
        found = import_module("torchao.prototype.quantization.int4")
        given = found.PrototypeInt4WeightOnlyConfig(group_size=32)
    return {"quantization_config": TorchAoConfig(given)}


class OpenVino:
    """OpenVINO GenAI's own pipeline: a folder that was converted for it, or a GGUF file."""

    def __init__(self, job: dict[str, Any]) -> None:
        self._lib: Any = import_module("openvino_genai")
        self._np: Any = import_module("numpy")
        self._tensor: Any = import_module("openvino").Tensor
        more: dict[str, Any] = {"INFERENCE_NUM_THREADS": job["threads"], **job["properties"]}
        if job["dtype"] == "float32":
            more |= {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32"}
        if job["adapter"]:
            lora = self._lib.Adapter(f"{job['adapter']}/adapter_model.safetensors")
            # It reads the file alone, and the factor is in the configuration beside it.
            self._on = self._lib.AdapterConfig(lora, job["factor"])
            more["adapters"] = self._on
        self._given: dict[str, Any] = {}
        self._pipe: Any = self._lib.LLMPipeline(job["model"], "CPU", **more)

    def use(self, *, adapter: bool) -> None:
        """As `Library` says."""
        self._given = {"adapters": self._on if adapter else self._lib.AdapterConfig()}

    def write(self, prompt: list[int], tokens: int, tick: Tick) -> list[int]:
        """As `Library` says."""
        lib = self._lib
        goes_on = lib.StreamingStatus.RUNNING

        class Ticking(lib.StreamerBase):  # type: ignore[misc,name-defined] # untyped library
            def write(self, token: Any) -> Any:  # noqa: ANN401 - a number or a list of them
                for _ in token if isinstance(token, list) else [token]:
                    tick()
                return goes_on

            def end(self) -> None:
                """Nothing is held back."""

        ids = self._np.array([prompt], dtype=self._np.int64)
        asked = lib.TokenizedInputs(self._tensor(ids), self._tensor(self._np.ones_like(ids)))
        wanted = lib.GenerationConfig()
        # Not min_new_tokens, which would forbid the token that ends an answer.
        wanted.max_new_tokens, wanted.ignore_eos, wanted.do_sample = tokens, True, False
        said = self._pipe.generate(asked, wanted, Ticking(), **self._given)
        return [int(one) for one in said.tokens[0]]


LIBRARIES: dict[str, Callable[[dict[str, Any]], Library]] = {
    "llama.cpp": LlamaCpp,
    "transformers": Torch,
    "openvino": OpenVino,
}
