"""Imports go one way; the wheel holds what git tracks; no file is too long to read."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("agent", "audio", "demo", "llm", "tools")
MAY_IMPORT = {
    "audio": {"audio"},
    "llm": {"llm"},
    "tools": {"tools"},
    "agent": {"agent", "audio", "llm", "tools"},
    "demo": set(ROOMS),
}


def tracked(*patterns: str) -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", *patterns], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return listed.stdout.split()


def imports(path: Path) -> set[str]:
    """Every module that a file imports, absolute."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            here = ["stretto", *path.parent.relative_to(ROOT).parts]
            above = here[: len(here) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            found |= {module} | {f"{module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("room", ROOMS)
def test_imports_go_one_way(room: str) -> None:
    for name in tracked(f"{room}/*.py"):
        for module in imports(ROOT / name):
            if module.startswith("stretto."):
                assert module.split(".")[1] in MAY_IMPORT[room], f"{name} imports {module}"
            assert not module.startswith("tests"), name


def test_the_agent_never_sees_the_oracle() -> None:
    for name in tracked("agent/*.py", "audio/*.py", "llm/*.py"):
        wrong = {m for m in imports(ROOT / name) if m.startswith("stretto.tools.concierge.oracle")}
        assert not wrong, name
        assert not {
            m for m in imports(ROOT / name) if m.startswith("stretto.tools.concierge.wording_agent")
        }, name


def test_no_file_is_too_long_to_read_at_a_sitting() -> None:
    long = {n: len((ROOT / n).read_text().splitlines()) for n in tracked(*(f"{r}/*.py" for r in ROOMS))}
    assert not {n: c for n, c in long.items() if c > 450}


def test_every_subpackage_is_declared() -> None:
    declared = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    folders = {str(Path(n).parent) for n in tracked(*(f"{r}/*.py" for r in ROOMS))}
    assert {"stretto." + f.replace("/", ".") for f in folders} == declared


def test_the_wheel_holds_what_git_tracks(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    command = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        str(tmp_path / "dist"),
        str(clone),
    ]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    packed = {
        n.removeprefix("stretto/") for n in zipfile.ZipFile(wheel).namelist() if n.startswith("stretto/")
    }
    expected = {n for n in tracked(*ROOMS)}
    assert packed == expected
