"""The chat in Portuguese, from its first frame on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TOUR = """
import asyncio, sys
from pathlib import Path
from engine.core import i18n
from engine.config.settings import load
settings = load(flags={"catalogue": sys.argv[1], "language": "pt"})
i18n.choose(settings.language)
from tui.app import BalcaoApp
from tui.widgets.composer import Composer

async def tour():
    app = BalcaoApp(settings)
    def seen():
        return "\\n".join(
            "".join(part.text for part in line) for line in app.screen._compositor.render_strips()
        )
    async with app.run_test(size=(100, 40)) as pilot:
        async def until(words):
            for _ in range(200):
                if words in seen():
                    return
                await pilot.pause(0.05)
            raise SystemExit(f"{words!r} is not on the screen:\\n{seen()}")
        await until("pergunte sobre qualquer produto")
        await until("pronto · 10 produtos")
        app.screen.query_one(Composer).insert("zzqx flumph")  # in no language
        await pilot.press("enter")
        await until("Nenhum produto corresponde")
        app.screen.query_one(Composer).insert("The Tin Lighthouse")
        await pilot.press("enter")
        await until("palavra por palavra")
        await pilot.press("f5")
        await until("de memória")
        await pilot.press("f1")
        await until("enviar a pergunta")
        await pilot.press("escape")
        app.screen.query_one(Composer).insert("/nada")
        await pilot.press("enter")
        await until("Comando desconhecido")
        app.screen.query_one(Composer).clear()
        await pilot.press("ctrl+p")
        await until("Buscar comandos…")
        await pilot.press(*"tema")
        await until("escolher as cores")
        await pilot.press("enter")
        await until("Buscar temas…")
        await until("high-contrast")
        await pilot.press(*"zzz")
        await until("Nada encontrado")
        await pilot.press("escape")

asyncio.run(tour())
print("done")
"""


def test_the_chat_in_portuguese(catalogue_dir: Path, tmp_path: Path) -> None:
    told = subprocess.run(
        [sys.executable, "-c", TOUR, str(catalogue_dir)],
        env={**os.environ, "BALCAO_HOME": str(tmp_path), "LANG": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.stdout.endswith("done\n"), told.stdout + told.stderr


def test_the_plain_chat_in_portuguese(catalogue_dir: Path, tmp_path: Path) -> None:
    """The locale chooses the language, also of what engines lack."""
    (tmp_path / "adapter").mkdir()
    told = _ran(
        tmp_path,
        ["--plain", "--catalogue", str(catalogue_dir)],
        {
            "LANG": "pt_BR.UTF-8",
            "BALCAO_ENGINES__LORA__ADAPTER": str(tmp_path / "adapter"),
            "BALCAO_ENGINES__BASE__MODEL": "nobody/nothing",
            "BALCAO_ENGINES__OPENAI__MODEL": "gpt",
        },
        "/engine\n/engine openai\n/nada\nThe Tin Lighthouse\n/record 3\n",
    )
    lines = told.splitlines()
    assert "Você: /nada" in lines
    assert "catalogue: Catálogo, pronto, responde agora" in lines
    assert any(line.startswith("base: Llama base, não está pronto: Os pesos de") for line in lines)
    assert (
        "OpenAI responde. Para perguntas seguintes, os modelos escolhem frases do registro."
        in lines
    )
    assert any(
        "precisa de uma chave de API, mas OPENAI_API_KEY não está definida" in one for one in lines
    )
    assert lines[-1] == "Digite um número de 1 a 1."


def test_the_doctor_follows_the_settings(catalogue_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config/settings.toml").write_text(
        f'language = "pt"\ncatalogue = "{catalogue_dir}"\n', encoding="utf-8"
    )
    told = _ran(tmp_path, ["doctor"], {"LANG": "C.UTF-8"})
    for line in ("Configurações", "tamanho ", "pronto, o chat começa com ele", "10 produtos"):
        assert line in told
    assert "O chat pode começar." in told
    assert "catalogue      pronto" in told  # an id


def _ran(home: Path, arguments: list[str], environ: dict[str, str], given: str = "") -> str:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("LC_")}
    clean.pop("LANGUAGE", None)
    return subprocess.run(
        [sys.executable, "-m", "scripts.cli", *arguments],
        env={**clean, "BALCAO_HOME": str(home), **environ},
        input=given,
        capture_output=True,
        text=True,
        check=True,
        encoding="utf-8",
    ).stdout
