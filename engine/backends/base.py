"""The base classes of every kind of engine, and of its table in the settings.

To add a kind, write a subclass of `Engine` and one of `EngineConfig`, and register the former in
engine/backends/registry.py. The first frame of the chat waits for this module.
tests/engine/backends/test_contract.py tests these rules for each kind:

- `availability` and `facts` answer in milliseconds, import nothing heavy and use no network.
- `load` may be called again; after it, `stream` starts without a wait. Closing it cancels.
- `stream` yields chunks as they arrive; the last one, and no other, has a `stop_reason`.
- Closing the stream stops all work for it, and the engine can be asked again.
- A failure raises EngineError with a remedy; the text before it stays valid.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

from msgspec import Meta, Struct
from msgspec.structs import asdict, replace

from engine.config.settings import Settings
from engine.core.i18n import tr
from engine.core.text import byte_count
from engine.core.types import Availability, Chunk, EngineFacts, EngineInfo, Progress, Request

if TYPE_CHECKING:
    from engine.config.parameters import Parameter
    from engine.core.trained_products import Calibration, TrainedProducts


PARALLEL = "parallel"
"""In what engines share: how many answers a model on this machine gives at once."""


class EngineConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """The values of a table `[engines.ID]` besides its `kind`. Every field has a default."""

    title: str = ""

    def completed(self, settings: Settings) -> Self:  # noqa: ARG002 - for the kinds that need it
        """Return a copy with the values that follow from the other settings filled in."""
        return self

    def parameters(self) -> tuple[Parameter, ...]:
        """Return the values that the user can change in the chat."""
        return ()

    def warnings(self) -> list[str]:
        """Return a sentence for each combination of values with a drawback."""
        return []

    def key_name(self) -> str:
        """Return the name of the API key that the engine needs, or an empty string."""
        return ""

    def local_model(self) -> tuple[str, str | None] | None:
        """Return the model on this machine that the engine runs, and its adapter."""
        return None

    def shown_title(self) -> str:
        """Return the title for the screen: our own titles translated, a user's as they are."""
        ours = {
            "Catalogue": tr("Catalogue"),
            "Base Llama": tr("Base Llama"),
            "LoRA Llama": tr("LoRA Llama"),
        }
        return ours.get(self.title, self.title)


class Engine(ABC):
    """Something that answers a question about products."""

    kind: ClassVar[str]
    """The `kind` of its tables in the settings."""
    config_type: ClassVar[type[EngineConfig]] = EngineConfig
    verbatim: ClassVar[bool] = False
    """Whether answers are the record's own words, in either mode."""
    search_is_sure: ClassVar[float] = 0.2
    """The score of a sentence from which the search chooses quotes, and not this engine."""
    rates_choices: ClassVar[bool] = False
    """Whether it says how likely each choice is, and does not choose one."""

    def __init__(self, engine_id: str, config: EngineConfig, *, remote: bool = False) -> None:
        self.config = config
        """Replaced by a copy when the user changes a parameter."""
        self.info = EngineInfo(engine_id, config.shown_title(), self.kind, remote)

    @classmethod
    def create(cls, engine_id: str, config: Any, shared: dict[str, Any]) -> Self:  # noqa: ANN401, ARG003 - the kind's own config
        """Make an engine. `shared` holds what engines of one registry have in common."""
        return cls(engine_id, config)

    @property
    def loaded(self) -> bool:
        """Whether `stream` would start without loading first."""
        return True

    @property
    def queue(self) -> str:
        """The server that answers many questions at once; empty for this machine."""
        return ""

    def availability(self) -> Availability:
        """Return whether the engine can answer, or why not."""
        return Availability(ready=True)

    def facts(self) -> EngineFacts:
        """Return what the engine is made of and the memory it uses."""
        return EngineFacts()

    def trained_on(self) -> TrainedProducts | None:
        """Return the products that the engine answers from memory, if known; may read a file."""
        return None

    def own_catalogue(self) -> str:
        """Return the folder with the products that the engine was trained on, or nothing."""
        return ""

    def calibration(self) -> Calibration | None:
        """Return what its probabilities say from memory, if known; may read a file."""
        return None

    async def look_up(self) -> None:  # noqa: B027 - not every kind has a server
        """Ask the engine's server for what its warnings depend on. May take a minute."""

    async def model_ids(self, key: str = "") -> list[str]:  # noqa: ARG002 - for kinds with a server
        """Return the ids of the models that the engine's server has. Raises EngineUnavailable."""
        return []

    async def use_model(self, model: str) -> None:  # noqa: B027 - not every kind has a server
        """Answer with another of these models, and a key stored since, from now on."""

    async def load(self) -> AsyncGenerator[Progress]:
        """Get ready, and yield the progress. Raises EngineError."""
        yield Progress(tr("ready"), 1.0)

    async def unload(self) -> None:  # noqa: B027 - not every kind has something to free
        """Free what `load` took. May be called at any time."""

    @abstractmethod
    def stream(self, request: Request) -> AsyncGenerator[Chunk]:
        """Answer. Raises EngineError."""

    @property
    def system_prompt(self) -> str:
        """The user's own system prompt; empty for the program's."""
        return ""

    def with_parameters(self, request: Request) -> Request:
        """Return the request with this engine's parameters."""
        return request

    def provenance(self) -> dict[str, Any]:
        """Return all that decides an answer, to compare evaluations of different days."""
        values = asdict(self.config)
        del values["title"]
        return {"kind": self.kind, **values}

    def summary(self) -> str:
        """Return a line on what the engine answers from."""
        return ""

    def details(self) -> list[tuple[str, str]]:
        """Return names and values for the engine's page; the page leaves empty ones out."""
        return []

    def warnings(self) -> list[str]:
        """Return a sentence for each thing to know before asking."""
        return self.config.warnings()


class ModelConfig(EngineConfig, frozen=True, forbid_unknown_fields=True):
    """The values that all engines with a language model have."""

    max_tokens: Annotated[int, Meta(ge=1, le=10**9)] = 1024
    temperature: Annotated[float, Meta(ge=0.0, le=2.0)] = 0.0
    """0 always takes the likeliest token."""
    top_p: Annotated[float, Meta(gt=0.0, le=1.0)] = 1.0
    """Above temperature 0, sample from the likeliest tokens with this total probability."""
    system_prompt: str = ""
    """Empty for the program's own, which training uses."""

    def sampling(self) -> dict[str, Any]:
        """Return the values that a request takes over."""
        names = ("max_tokens", "temperature", "top_p")
        return {name: getattr(self, name) for name in names}

    def parameters(self) -> tuple[Parameter, ...]:
        """Return the sampling parameters and the system prompt."""
        from engine.config.parameters import sampling_parameters

        return sampling_parameters()

    def warnings(self) -> list[str]:
        """Return a sentence for each combination of values with a drawback."""
        found = [self.prompt_warning()] if self.system_prompt else []
        if self.top_p < 1 and self.temperature == 0:
            found.append(tr("Top-p changes nothing while the temperature is 0."))
        return found

    def prompt_warning(self) -> str:
        """Return the drawback of a system prompt of the user's own."""
        return tr("The program's own system prompt, which asks for the record's words, is off.")


class ModelEngine(Engine):
    """An engine with a language model."""

    config: ModelConfig

    @property
    def system_prompt(self) -> str:
        """The user's own system prompt; empty for the program's."""
        return self.config.system_prompt

    def with_parameters(self, request: Request) -> Request:
        """Return the request with this engine's parameters."""
        return replace(request, **self.config.sampling())

    def parameter_details(self) -> list[tuple[str, str]]:
        """Return the rows of the engine's page about its parameters."""
        config = self.config
        values = config.sampling()
        drawn = tr("temperature {temperature:g}, top-p {top_p:g}", **values)
        limits = tr("{drawn}, at most {max_tokens:,} tokens", drawn=drawn, **values)
        prompt = config.system_prompt or tr("the program's own, as in training")
        return [(tr("answers with"), limits), (tr("system prompt"), prompt)]


def memory_words(facts: EngineFacts) -> str:
    """Return the memory of a model's process, and how much of the GPU's it uses."""
    if facts.memory is None:
        return ""
    if not facts.gpu_memory:
        return byte_count(facts.memory)
    memory, gpu = byte_count(facts.memory), byte_count(facts.gpu_memory)
    return tr("{memory} and {gpu} of the GPU", memory=memory, gpu=gpu)
