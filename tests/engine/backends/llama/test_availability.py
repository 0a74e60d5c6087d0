"""Availability of an engine before it is loaded."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import platformdirs
import pytest

from engine.backends.llama.adapters import find_adapter
from engine.backends.llama.engine import LlamaConfig, LlamaEngine
from engine.backends.llama.weights import find_model
from engine.config import paths
from engine.config.paths import hub_cache
from engine.core.errors import EngineUnavailable
from engine.core.files import Input, Manifest, describe_file, write_manifest
from engine.prompts import PROMPT_VERSION
from scripts import cli
from tests.engine.backends.llama.conftest import Copy, engine
from tests.engine.backends.llama.tiny import ROOT, Tiny

LLAMA2 = "meta-llama/Llama-2-7b-chat-hf"


def _problem(**row: object) -> str:
    """Return reason and remedy of an engine that is not ready."""
    state = engine("mine", **row).availability()
    assert not state.ready
    assert state.reason.endswith(".")
    return f"{state.reason} {state.remedy}"


def test_complete_model_and_adapter_are_ready(tiny: Tiny) -> None:
    mine = engine(model=str(tiny.model), adapter=str(tiny.adapter), needs_adapter=True)
    assert mine.availability().ready
    assert not mine.loaded


def test_missing_adapter_names_the_setting(tiny: Tiny) -> None:
    problem = _problem(model=str(tiny.model), needs_adapter=True)
    assert "needs an adapter" in problem
    assert "Set `adapter` to a folder that `balcao train` wrote, under [engines.mine]" in problem


def test_missing_hub_model_names_the_command() -> None:
    problem = _problem(model=LLAMA2)
    assert f"“{LLAMA2}” are not on this machine" in problem
    assert f"balcao models pull {LLAMA2}" in problem
    assert "licence" in problem
    assert (
        "Set `model` to a folder with a Llama model in safetensors, under [engines.mine]" in problem
    )
    assert "licence" not in _problem(model="someone/open-model")


def test_hub_model_in_the_cache_is_ready(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = tmp_path / "cache" / "models--someone--tiny"
    (stored / "refs").mkdir(parents=True)
    (stored / "refs" / "main").write_text("c0ffee", encoding="ascii")
    (stored / "snapshots").mkdir()
    (stored / "snapshots" / "c0ffee").symlink_to(tiny.model, target_is_directory=True)
    assert "not on this machine" in _problem(model="someone/tiny")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    assert engine(model="someone/tiny").availability().ready


@pytest.mark.parametrize(
    ("variables", "folder"),
    [
        ({"HF_HUB_CACHE": "/c", "HF_HOME": "/h"}, "/c"),
        ({"HF_HOME": "/h"}, "/h/hub"),
        ({"XDG_CACHE_HOME": "/x"}, "/x/huggingface/hub"),
        ({}, "~/.cache/huggingface/hub"),
    ],
)
def test_hub_cache_follows_the_clients_variables(
    variables: dict[str, str], folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert hub_cache() == Path(folder).expanduser()


def test_missing_folder(tmp_path: Path) -> None:
    assert f"Model folder not found: {tmp_path}/none." in _problem(model=f"{tmp_path}/none")


def test_other_architecture(copy: Copy) -> None:
    model = copy("model")
    _change(model / "config.json", model_type="gpt2")
    assert "is a “gpt2” model, not a Llama" in _problem(model=str(model))


def test_broken_config(copy: Copy) -> None:
    model = copy("model")
    (model / "config.json").write_text("{", encoding="utf-8")
    assert "config.json is invalid" in _problem(model=str(model))
    (model / "config.json").unlink()
    assert f"Cannot read {model}/config.json" in _problem(model=str(model))


def test_missing_shard(copy: Copy) -> None:
    model = copy("model")
    (model / "model.safetensors").rename(model / "model-00001-of-00002.safetensors")
    index = {"weight_map": {f"w{n}": f"model-0000{n}-of-00002.safetensors" for n in (1, 2)}}
    (model / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    assert "model-00002-of-00002.safetensors missing" in _problem(model=str(model))


def test_truncated_weights(copy: Copy) -> None:
    model = copy("model")
    file = model / "model.safetensors"
    whole = file.read_bytes()
    for size in (len(whole) - 1, len(whole) // 2, 100, 4, 0):
        file.write_bytes(whole[:size])
        assert f"{file} is truncated" in _problem(model=str(model))
    file.write_bytes(b"version https://a-pointer-to-the-real-file\n" * 3)
    assert f"{file} is truncated" in _problem(model=str(model))


def test_pickled_weights_are_refused(copy: Copy) -> None:
    model = copy("model")
    (model / "model.safetensors").rename(model / "pytorch_model.bin")
    assert "only in .bin files" in _problem(model=str(model))
    (model / "pytorch_model.bin").unlink()
    assert "model.safetensors missing" in _problem(model=str(model))


def test_missing_tokenizer(copy: Copy) -> None:
    model = copy("model")
    (model / "tokenizer.json").unlink()
    assert "tokenizer.json missing" in _problem(model=str(model))


def test_broken_adapters(tiny: Tiny, copy: Copy) -> None:
    row = {"model": str(tiny.model)}
    assert "Adapter folder not found" in _problem(**row, adapter=f"{tiny.adapter}-none")
    adapter = copy("adapter")
    file = adapter / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-10])
    assert f"{file} is truncated" in _problem(**row, adapter=str(adapter))
    _change(adapter / "adapter_config.json", peft_type="IA3")
    assert "of type “IA3”, not LoRA" in _problem(**row, adapter=str(adapter))
    file.unlink()
    assert "adapter_model.safetensors missing" in _problem(**row, adapter=str(adapter))


def test_adapter_of_another_base(tiny: Tiny, copy: Copy) -> None:
    model = copy("model")
    _change(model / "config.json", hidden_size=128)
    problem = _problem(model=str(model), adapter=str(tiny.adapter))
    assert "trained on another base" in problem
    _change(model / "config.json", hidden_size=64, num_hidden_layers=1)
    assert "trained on another base" in _problem(model=str(model), adapter=str(tiny.adapter))


def test_adapter_of_another_prompt_version(tiny: Tiny, copy: Copy) -> None:
    adapter = copy("adapter")
    row = {"model": str(tiny.model), "adapter": str(adapter)}
    write_manifest(adapter, Manifest(kind="adapter", version=1, prompt_version=PROMPT_VERSION))
    assert engine(**row).availability().ready
    write_manifest(adapter, Manifest(kind="adapter", version=1, prompt_version=PROMPT_VERSION + 1))
    assert f"trained with version {PROMPT_VERSION + 1} of the prompts" in _problem(**row)


async def test_adapter_of_other_weights_with_the_same_shape(tiny: Tiny, copy: Copy) -> None:
    adapter, model = copy("adapter"), copy("model")
    trained_on = describe_file(tiny.model / "model.safetensors")
    write_manifest(
        adapter,
        Manifest(
            kind="lora-adapter", version=1, inputs=[trained_on], prompt_version=PROMPT_VERSION
        ),
    )
    mine = engine(model=str(model), adapter=str(adapter))
    assert find_adapter(str(adapter), find_model(str(model), "mine"), thorough=True).warning == ""
    file = model / "model.safetensors"
    weights = bytearray(file.read_bytes())
    weights[-1] ^= 1
    file.write_bytes(weights)
    # Hashing takes too long before every question.
    assert mine.availability().ready
    with pytest.raises(EngineUnavailable, match="trained on another base"):
        async for _ in mine.load():
            pass
    write_manifest(
        adapter,
        Manifest(
            kind="lora-adapter",
            version=1,
            inputs=[Input("model.safetensors", "", 7)],
            prompt_version=PROMPT_VERSION,
        ),
    )
    assert "trained on another base" in _problem(model=str(model), adapter=str(adapter))


def test_imports_nothing_heavy(tiny: Tiny) -> None:
    code = (
        "import sys\n"
        "from tests.engine.backends.llama.conftest import engine\n"
        "before = set(sys.modules)\n"
        f"mine = engine(model={str(tiny.model)!r}, adapter={str(tiny.adapter)!r})\n"
        "assert mine.availability().ready\n"
        "heavy = {'torch', 'transformers', 'peft', 'numpy', 'safetensors', 'huggingface_hub'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ran.stdout == "[]\n", ran.stderr


def test_missing_packages_name_the_command(tmp_path: Path) -> None:
    for package in (msgspec, platformdirs):
        folder = Path(str(package.__file__)).parent
        (tmp_path / folder.name).symlink_to(folder, target_is_directory=True)
    code = (
        "import sys\n"
        f"sys.path[:0] = [{str(ROOT)!r}, {str(tmp_path)!r}]\n"
        "from engine.backends.llama.engine import LlamaConfig, LlamaEngine\n"
        "from engine.backends.llama.host import LlamaHost\n"
        "row = LlamaConfig(quantization='nf4')\n"
        "state = LlamaEngine('base', row, LlamaHost(row.model, 'nf4')).availability()\n"
        "print(state.ready, state.reason, state.remedy)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-S", "-c", code], capture_output=True, text=True, check=False
    )
    assert ran.stdout.startswith("False "), ran.stderr
    assert "torch, transformers, peft, accelerate" in ran.stdout
    assert "[gpu]'" in ran.stdout
    assert "bitsandbytes" in ran.stdout


def test_engines_with_the_same_model_share_a_host() -> None:
    shared: dict[str, Any] = {}

    def host(**values: Any) -> object:
        return LlamaEngine.create("mine", LlamaConfig(**values), shared)._host

    assert host(model="a/b") is host(model="a/b", adapter="c")
    assert host(model="a/b") is not host(model="a/b", quantization="nf4")
    assert host(model="a/b") is not host(model="a/c")


_DEEP = b"[" * 100_000
_LATIN = b'{"model_type":"\xe9","peft_type":"\xe9","kind":"\xe9","weight_map":{"a":"\xe9"}}'
_NOT_JSON = {"not_utf8": _LATIN, "nested_deeply": _DEEP, "half_a_letter": b'"\\ud83d"'}


@pytest.mark.parametrize("content", _NOT_JSON.values(), ids=_NOT_JSON.keys())
@pytest.mark.parametrize(
    "name", ["config.json", "adapter_config.json", "manifest.json", "model.safetensors.index.json"]
)
def test_a_file_that_is_no_json_is_a_sentence(copy: Copy, name: str, content: bytes) -> None:
    folders = {"model": copy("model"), "adapter": copy("adapter")}
    if "index" in name:
        (folders["model"] / "model.safetensors").unlink()
    owner = "adapter" if name in ("adapter_config.json", "manifest.json") else "model"
    (folders[owner] / name).write_bytes(content)
    assert name in _problem(**{key: str(folder) for key, folder in folders.items()})


def test_a_broken_adapter_leaves_the_other_engines_and_models(
    tiny: Tiny, copy: Copy, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter = copy("adapter")
    (adapter / "manifest.json").write_bytes(_DEEP)
    file = paths.settings_file()
    file.parent.mkdir(parents=True)
    file.write_text(
        f"[engines.mine]\nkind = 'llama'\nmodel = '{tiny.model}'\nadapter = '{adapter}'\n"
        f"[engines.plain]\nkind = 'llama'\nmodel = '{tiny.model}'\n"
        "[engines.odd]\nkind = 'llama'\nmodel = '~nosuchuser/model'\n"
    )
    assert cli.main(["engines", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    ready = {row["id"]: row["ready"] for row in rows}
    assert ready["catalogue"]
    assert (ready["plain"], ready["mine"], ready["odd"]) == (True, False, False)
    assert cli.main(["models", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    whole = {row["name"]: row["whole"] for row in rows}
    assert (whole[str(tiny.model)], whole[str(adapter)]) == (True, False)
    assert not whole["~nosuchuser/model"]


@pytest.mark.parametrize("content", _NOT_JSON.values(), ids=_NOT_JSON.keys())
def test_a_header_that_is_no_json_is_a_sentence(copy: Copy, content: bytes) -> None:
    file = copy("model") / "model.safetensors"
    file.write_bytes(len(content).to_bytes(8, "little") + content)
    assert f"{file} is truncated" in _problem(model=str(file.parent))


@pytest.mark.parametrize(
    "tensor",
    [
        {"shape": []},
        {"shape": [10**12, 10**12]},
        {"shape": [-1, -8]},
        {"shape": [10**30]},
        {"shape": [1] * 100},
        {"data_offsets": [10**18, 0]},
        {"data_offsets": [-4, 0]},
    ],
)
def test_an_impossible_tensor_is_a_sentence(
    tiny: Tiny, copy: Copy, tensor: dict[str, object]
) -> None:
    adapter = copy("adapter")
    file = adapter / "adapter_model.safetensors"
    _change_header(file, lambda header: header[next(iter(_tensors(header)))].update(tensor))
    assert f"{file} is truncated" in _problem(model=str(tiny.model), adapter=str(adapter))


@pytest.mark.parametrize("layer", ["0", "9" * 5000], ids=["small", "large"])
def test_a_lora_tensor_that_is_no_matrix_is_a_sentence(tiny: Tiny, copy: Copy, layer: str) -> None:
    adapter = copy("adapter")
    only = {"dtype": "F32", "shape": [], "data_offsets": [0, 4]}
    content = json.dumps({f"x.layers.{layer}.mlp.up_proj.lora_A.weight": only}).encode()
    file = adapter / "adapter_model.safetensors"
    file.write_bytes(len(content).to_bytes(8, "little") + content + bytes(4))
    assert "not LoRA weights" in _problem(model=str(tiny.model), adapter=str(adapter))


def test_an_adapter_whose_config_claims_a_larger_rank_is_refused(tiny: Tiny, copy: Copy) -> None:
    adapter = copy("adapter")
    _change(adapter / "adapter_config.json", r=1_000_000)
    problem = _problem(model=str(tiny.model), adapter=str(adapter))
    assert "of rank 8, its adapter_config.json says 1000000" in problem


@pytest.mark.parametrize(
    "values",
    [
        {"num_hidden_layers": 10**9},
        {"num_hidden_layers": 0},
        {"num_attention_heads": 0},
        {"num_key_value_heads": -2},
        {"vocab_size": 10**12},
        {"hidden_size": "64"},
        {"max_position_embeddings": 10**10},
        {"rms_norm_eps": -1.0},
        {"rope_parameters": {"rope_type": "llama3", "low_freq_factor": 0.0}},
    ],
)
def test_a_config_out_of_range_names_the_value(copy: Copy, values: dict[str, object]) -> None:
    model = copy("model")
    _change(model / "config.json", **values)
    assert "config.json is invalid: Expected" in (problem := _problem(model=str(model)))
    assert next(iter(values)) in problem


@pytest.mark.parametrize("values", [{"num_hidden_layers": 4000}, {"intermediate_size": 2**24}])
def test_a_config_far_larger_than_its_weights_is_refused(
    copy: Copy, values: dict[str, object]
) -> None:
    model = copy("model")
    _change(model / "config.json", **values)
    problem = _problem(model=str(model))
    assert re.search(r"config.json describes [\d,]{10,} parameters, its weights have \d+,", problem)


def test_a_pipe_is_not_waited_for(tiny: Tiny, copy: Copy) -> None:
    model, adapter = copy("model"), copy("adapter")
    for file in (model / "config.json", adapter / "manifest.json"):
        if file.exists():
            file.unlink()
        os.mkfifo(file)
    assert "it is not a file" in _problem(model=str(model))
    assert "it is not a file" in _problem(model=str(tiny.model), adapter=str(adapter))


@pytest.mark.parametrize(
    "name", ["~nosuchuser/model", "a\0b", "x" * 5000], ids=["user", "nul", "long"]
)
def test_a_name_that_is_no_path_is_a_sentence(tiny: Tiny, name: str) -> None:
    assert _problem(model=name)
    mine = engine(model=str(tiny.model), adapter=name)
    assert not mine.availability().ready
    assert not mine.loaded
    assert mine.provenance()["adapter_weights"] is None


def _tensors(header: dict[str, Any]) -> list[str]:
    return [name for name in header if name != "__metadata__"]


def _change_header(file: Path, change: Callable[[dict[str, Any]], None]) -> None:
    whole = file.read_bytes()
    end = 8 + int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8:end])
    change(header)
    content = json.dumps(header).encode()
    file.write_bytes(len(content).to_bytes(8, "little") + content + whole[end:])


def _change(file: Path, **values: object) -> None:
    content = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps(content | values), encoding="utf-8")
