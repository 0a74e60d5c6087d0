"""Answer with a Llama on this machine, plain or with a LoRA adapter.

The model runs in a worker process (engine/backends/llama/host.py), which engines of the same model
share; the plain base is that model with every adapter switched off. The first frame of the chat
waits for this module, so it imports the rest of this folder in functions.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import msgspec
from msgspec.structs import replace

from engine.backends.base import PARALLEL, ModelConfig, ModelEngine, memory_words
from engine.config import paths
from engine.config.paths import find_snapshot
from engine.config.settings import Settings
from engine.core.errors import DataError, EngineUnavailable
from engine.core.i18n import tr
from engine.core.process import install_command
from engine.core.text import last_part
from engine.core.types import Availability, Chunk, EngineFacts, Mode, Progress, Request

if TYPE_CHECKING:
    from engine.backends.llama.adapters import AdapterFiles
    from engine.backends.llama.host import LlamaHost
    from engine.backends.llama.messages import Ask
    from engine.backends.llama.weights import ModelFiles
    from engine.core.trained_products import Calibration, TrainedProducts

LLAMA2 = "meta-llama/Llama-2-7b-chat-hf"
"""The default model where it is on disk."""


class LlamaConfig(ModelConfig, frozen=True, forbid_unknown_fields=True):
    """The values of a Llama-architecture model on this machine."""

    title: str = "Llama"
    model: str = ""
    """A folder, "smollm2", or a hub id on disk; empty for Llama 2 or else smollm2."""
    adapter: str | None = None
    """A peft adapter's folder."""
    catalogue: str = ""
    """The folder of the adapter's products, which a chat opens that is started with the engine."""
    needs_adapter: bool = False
    """Whether the engine is not ready without an adapter."""
    quantization: Literal["auto", "nf4", "int8", "none"] = "auto"
    """With llama.cpp, `nf4` is Q4_K_M and `int8` is Q8_0."""
    runtime: Literal["auto", "transformers", "llama.cpp"] = "auto"
    context: Annotated[int, msgspec.Meta(ge=64, le=10**9)] | None = None
    """Tokens of prompt and answer together; None for the model's own limit."""

    def completed(self, settings: Settings) -> Self:  # noqa: ARG002 - the other kinds'
        """Return a copy with a model, and for smollm2 with the adapter that ships, if needed."""
        model = self.model or (LLAMA2 if find_snapshot(LLAMA2) else paths.SMALL)
        shipped = paths.small_adapter_dir()
        if self.needs_adapter and not self.adapter and model == paths.SMALL and shipped.is_dir():
            return replace(self, model=model, adapter=str(shipped))
        return replace(self, model=model)

    def prompt_warning(self) -> str:
        """Return the drawback of a system prompt of the user's own."""
        if not self.adapter:
            return super().prompt_warning()
        return tr(
            "The adapter has learned to answer under the program's own system prompt: without "
            "it, it answered 0 of 16 products word for word (docs/measurements/training.md)."
        )

    def local_model(self) -> tuple[str, str | None]:
        """Return the model on this machine that the engine runs, and its adapter."""
        return self.model, self.adapter


class LlamaEngine(ModelEngine):
    """A Llama in a worker process; `host` is shared by the engines with the same model."""

    kind = "llama"
    config_type = LlamaConfig
    search_is_sure = 0.1  # a small model chooses worse where the search is a little surer
    rates_choices = True
    config: LlamaConfig

    def __init__(self, engine_id: str, config: LlamaConfig, host: LlamaHost) -> None:
        super().__init__(engine_id, config)
        self._host = host
        self._warning = ""

    @classmethod
    def create(cls, engine_id: str, config: LlamaConfig, shared: dict[str, Any]) -> Self:
        """Make an engine on the host of its model."""
        from engine.backends.llama.host import LlamaHost, resolve_runtime

        key = (config.model, config.quantization, resolve_runtime(config.runtime))
        hosts: dict[Any, LlamaHost] = shared.setdefault(cls.kind, {})
        if key not in hosts:
            hosts[key] = LlamaHost(*key, parallel=shared.get(PARALLEL, 1))
        if config.adapter:
            hosts[key].configured.add(config.adapter)
        return cls(engine_id, config, hosts[key])

    @property
    def loaded(self) -> bool:
        """Whether the model is in memory, with this engine's adapter."""
        return self._host.is_loaded(self._adapter)

    def availability(self) -> Availability:
        """Check that packages, weights and adapter are on this machine and fit together."""
        try:
            self._find()
        except EngineUnavailable as error:
            return Availability(ready=False, reason=error.message, remedy=error.remedy)
        return Availability(ready=True)

    def facts(self) -> EngineFacts:
        """Return the engine's files, and the memory of the worker that it shares."""
        config = self.config
        return EngineFacts(
            model=config.model,
            adapter=config.adapter or "",
            quantization=config.quantization,
            runtime=self._host.runtime,
            memory=self._host.memory(),
            gpu_memory=self._host.gpu_bytes,
            loading=self._host.loading,
        )

    def trained_on(self) -> TrainedProducts | None:
        """Return the products in the adapter's manifest."""
        from engine.core.trained_products import read_trained_products

        return read_trained_products(self._adapter) if self._adapter else None

    def own_catalogue(self) -> str:
        """Return the folder that `balcao runs use` has stored with the adapter."""
        return self.config.catalogue

    def calibration(self) -> Calibration | None:
        """Return the calibration in the adapter's manifest."""
        from engine.core.trained_products import read_calibration

        return read_calibration(self._adapter) if self._adapter else None

    def provenance(self) -> dict[str, Any]:
        """Return all that decides an answer, to compare evaluations of different days."""
        from engine.core.files import describe_file, read_manifest

        weights = "adapter_model.safetensors"
        model, adapter, values = self.config.model, self.config.adapter, super().provenance()
        del values["needs_adapter"], values["runtime"]
        found = self.calibration()
        calibrated = {"calibration": msgspec.to_builtins(found)} if found else {}
        return (
            values
            | calibrated
            | {
                "model": model,
                "model_config": _known(model, lambda folder: describe_file(folder / "config.json")),
                "adapter": _short(adapter),
                "adapter_weights": _known(adapter, lambda folder: describe_file(folder / weights)),
                "adapter_manifest": _known(adapter, read_manifest),
            }
        )

    def summary(self) -> str:
        """Return the names of the model and its adapter."""
        config = self.config
        tuned = tr(", tuned by {last}", last=last_part(config.adapter)) if config.adapter else ""
        return tr("{last} on this machine{tuned}", last=last_part(config.model), tuned=tuned)

    def details(self) -> list[tuple[str, str]]:
        """Return the model's files, its quantization, its memory and the parameters."""
        facts = self.facts()
        memory = memory_words(facts)
        return [
            (tr("model"), facts.model),
            (tr("adapter"), facts.adapter),
            (tr("quantization"), self._quantization(facts)),
            (tr("runs by"), f"{facts.runtime}: {self._runtime_reason()}"),
            (tr("address"), tr("this machine")),
            (tr("memory"), tr("{memory} resident", memory=memory) if memory else ""),
            *self.parameter_details(),
        ]

    async def load(self) -> AsyncGenerator[Progress]:
        """Load the model and adapter in the worker, unless they are loaded. Raises EngineError."""
        model, adapter = await asyncio.to_thread(self._find, thorough=True)
        folder = adapter.folder if adapter else None
        async with aclosing(self._host.load(model, folder)) as steps:
            async for step in steps:
                yield step
        self._warning = adapter.warning if adapter else ""

    async def unload(self) -> None:
        """Kill the worker, and with it the model of every engine that shares it."""
        await self._host.close()

    async def stream(self, request: Request) -> AsyncGenerator[Chunk]:
        """Yield an answer as it is generated; load first if needed. Raises EngineError."""
        if not self.loaded:
            async with aclosing(self.load()) as steps:
                async for _ in steps:
                    pass
        async with aclosing(self._host.ask(self._ask(request))) as chunks:
            async for chunk in chunks:
                yield self._with_warning(chunk)

    def _quantization(self, facts: EngineFacts) -> str:
        as_it_is = self.config.model == paths.SMALL and facts.quantization in ("auto", "nf4")
        if as_it_is and facts.runtime == "llama.cpp":
            return tr("{precision}, as downloaded", precision="Q4_1")
        return _quantized(facts)

    @property
    def _adapter(self) -> Path | None:
        adapter = self.config.adapter
        try:
            return paths.expand(adapter).resolve() if adapter else None
        except (OSError, ValueError, RuntimeError):  # find_adapter says why
            return Path(adapter or "")

    def _ask(self, request: Request) -> Ask:
        from engine.backends.llama.messages import Ask
        from engine.core.trained_products import FIRST_TOKENS
        from engine.prompts import scoring_prompt

        from_memory = self._adapter is not None and request.mode is Mode.MEMORY
        product = request.decision.product
        title = product.title if product else ""
        return Ask(
            request.messages,
            request.max_tokens,
            request.temperature,
            request.top_p,
            self.config.context,
            str(self._adapter) if self._adapter else None,
            draft=request.decision.draft,
            first=FIRST_TOKENS if from_memory else 0,
            choices=tuple(scoring_prompt(title, one) for one in request.choices),
            question=request.question,
        )

    def _with_warning(self, chunk: Chunk) -> Chunk:
        """Add the adapter's warning to the first answer after loading."""
        if chunk.stop_reason is None or not self._warning:
            return chunk
        warning, self._warning = self._warning, ""
        return replace(chunk, notice=f"{chunk.notice} {warning}".strip())

    def _find(self, *, thorough: bool = False) -> tuple[ModelFiles, AdapterFiles | None]:
        from engine.backends.llama.adapters import find_adapter
        from engine.backends.llama.weights import find_model, setting_hint

        self._check_packages()
        config = self.config
        model = find_model(config.model, self.info.id)
        if config.needs_adapter and not config.adapter:
            raise EngineUnavailable(
                tr("“{row}” needs an adapter, and none is set.", row=self.info.title),
                setting_hint("adapter", tr("a folder that `balcao train` wrote"), self.info.id),
            )
        if not config.adapter:
            return model, None
        return model, find_adapter(config.adapter, model, thorough=thorough)

    def _runtime_reason(self) -> str:
        from engine.backends.llama.host import has_gpu

        if self.config.runtime != "auto":
            return tr("set in the settings")
        if not has_gpu():
            return tr("no NVIDIA GPU found")
        if self._host.runtime == "transformers":
            return tr("NVIDIA GPU found")
        return tr("the packages for the NVIDIA GPU are missing")

    def _check_packages(self) -> None:
        from engine.backends.llama.host import missing_packages

        missing = missing_packages(self._host.runtime, self.config.quantization)
        if missing:
            title, names = self.info.title, ", ".join(missing)
            extra = "gpu" if self._host.runtime == "transformers" else ""
            raise EngineUnavailable(
                tr("“{row}” needs packages that are missing: {missing}.", row=title, missing=names),
                tr("Run: {command}", command=install_command(extra)),
            )


def _quantized(facts: EngineFacts) -> str:
    by_llama_cpp = facts.runtime == "llama.cpp"
    return {
        "auto": tr("auto: 4-bit Q4_K_M, none for a small model")
        if by_llama_cpp
        else tr("auto: 4-bit NF4 on an NVIDIA GPU, none for a small model or elsewhere"),
        "nf4": tr("4-bit Q4_K_M") if by_llama_cpp else tr("4-bit NF4"),
        "int8": tr("8-bit Q8_0") if by_llama_cpp else tr("8-bit"),
        "none": tr("none: the weights' own precision"),
    }.get(facts.quantization, facts.quantization)


def _short(folder: str | None) -> str | None:
    # The path of the adapter that ships depends on the installation.
    return Path(folder).name if folder and Path(folder) == paths.small_adapter_dir() else folder


def _known(folder: str | None, describe: Callable[[Path], object]) -> dict[str, Any] | None:
    place = paths.small_model_dir() if folder == paths.SMALL else paths.expand(folder or "")
    try:
        return msgspec.to_builtins(describe(place)) if folder else None
    except (DataError, OSError, ValueError, RuntimeError):  # a hub id, not a folder
        return None
