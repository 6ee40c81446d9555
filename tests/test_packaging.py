"""The packages as users get them: built, installed outside the workspace, imported."""

import json
import re
import sys
import tarfile
import textwrap
import zipfile

import pytest

from checkout import PROJECTS, ROOT, run

LOCKED = ROOT / "constraints/locked.txt"


def install(uv, wheels, python, *requirements):
    """As ``pip install`` would, but with the versions that are tested here."""
    uv(
        *("pip", "install", "--python", python, "--constraint", LOCKED),
        *("--find-links", wheels, *requirements),
    )


@pytest.mark.parametrize("project", PROJECTS, ids=lambda project: project.name)
def test_a_wheel_holds_all_that_the_sources_hold(wheels, project):
    (source,) = (project / "src").iterdir()
    sources = {
        str(path.relative_to(project / "src"))
        for path in source.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    (wheel,) = wheels.glob(f"{source.name}-*.whl")
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert f"{source.name}/py.typed" in packed
    assert packed == sources


@pytest.mark.parametrize("project", PROJECTS, ids=lambda project: project.name)
def test_a_release_carries_its_licence_and_names_no_computer(wheels, project):
    (source,) = (project / "src").iterdir()
    (archive,) = wheels.glob(f"{source.name}-*.tar.gz")
    with tarfile.open(archive) as files:
        names = {name.split("/", 1)[-1] for name in files.getnames()}
        assert {"LICENSE", "README.md", "pyproject.toml"} <= names
        assert not [name for name in names if "node_modules" in name or "__pycache__" in name]
    (wheel,) = wheels.glob(f"{source.name}-*.whl")
    (metadata,) = (n for n in zipfile.ZipFile(wheel).namelist() if n.endswith("/METADATA"))
    assert "file:" not in zipfile.ZipFile(wheel).read(metadata).decode()


def test_an_installed_ramure_works_outside_the_workspace(uv, wheels, environment, tmp_path):
    install(uv, wheels, environment, "ramure")
    where = run(environment, "-c", "import ramure; print(ramure.__file__)", cwd=tmp_path)
    assert str(tmp_path) in where
    assert "connect" in run(environment.with_name("ramure"), "--help", cwd=tmp_path)


def test_it_upgrades_the_releases_before_it(uv, wheels, environment, tmp_path):
    uv("pip", "install", "--python", environment, "ramure==0.0.3")
    install(uv, wheels, environment, "ramure>=0.1")
    listed = json.loads(uv("pip", "list", "--quiet", "--python", environment, "--format", "json"))
    version = run(environment, "-c", "import ramure; print(ramure.__version__)", cwd=tmp_path)
    assert {"name": "ramure", "version": version.strip()} in listed
    assert "connect" in run(environment.with_name("ramure"), "--help", cwd=tmp_path)


def test_a_program_is_type_checked_against_the_installed_package(uv, wheels, environment, tmp_path):
    install(uv, wheels, environment, "ramure")
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent("""
            import asyncio

            from ramure import agent, agent_process, done, wait

            @agent_process
            async def run_task(spec: str) -> str:
                worker = await agent("worker")

                @worker.on("finish")
                async def on_finish(summary: str) -> str:
                    done(summary)
                    return "Recorded."

                await worker.send(spec)
                result: str = await wait()
                return result

            async def main() -> str:
                return await run_task("a haiku")

            async def wrong() -> int:
                return await run_task("a haiku")  # type: ignore[return-value]

            print(asyncio.run(run_task("a haiku")) + "!")
        """)
    )
    mypy = (sys.executable, "-m", "mypy", "--strict", "--python-executable", environment)
    run(*mypy, program, cwd=tmp_path)  # far from the checkout's own settings


def test_every_pin_is_hashed_and_names_no_index():
    for constraints in (ROOT / "constraints").glob("*.txt"):
        text = constraints.read_text("utf-8")
        assert "://" not in text, constraints
        assert text.count("==") <= text.count("--hash="), constraints
    for lock in map(ROOT.joinpath, run("git", "ls-files", "*package-lock.json", cwd=ROOT).split()):
        packages = json.loads(lock.read_text("utf-8"))["packages"]
        assert not [name for name, package in packages.items() if "resolved" in package], lock
        unhashed = [name for name, p in packages.items() if name and "integrity" not in p]
        assert not unhashed, lock


def test_pins_fit_every_computer():
    """A lock that was made from one computer's own index holds the hashes of its files alone."""
    pins = re.split(
        r"^(?=\w)", (ROOT / "constraints/locked.txt").read_text("utf-8"), flags=re.MULTILINE
    )
    compiled = {"librt", "msgspec", "mypy", "psutil", "pydantic-core", "ruff"}
    hashes = {pin.split("==")[0]: pin.count("--hash=") for pin in pins}
    assert {name for name in compiled if hashes[name] < 10} == set()
