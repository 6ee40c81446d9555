"""``ramure plugins new``: the package of a new plugin."""

import subprocess
import sys
import tomllib

import pytest

from ramure.cli import scaffold


def new(house, *arguments):
    return house.ramure("plugins", "new", *arguments)


def files(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


BACKEND = {
    *("README.md", "pyproject.toml"),
    *(f"src/ramure_my_cloud/{name}.py" for name in ("__init__", "plugin", "image", "backend")),
    *("src/ramure_my_cloud/machine.py", "src/ramure_my_cloud/py.typed"),
    *(f"tests/{name}.py" for name in ("conftest", "test_backend", "test_machine", "test_program")),
}
HARNESS = {
    *("src/ramure_my_cloud/harness.py", "src/ramure_my_cloud/agent.py", "tests/test_harness.py")
}


def test_it_writes_a_package_and_says_what_and_what_next(house):
    folder = house.folder / "ramure-my-cloud"
    done = new(house, "my-cloud", "--dir", str(folder))
    assert done.code == 0, done.err
    assert files(folder) == BACKEND
    assert {line.removeprefix(f"{folder}/") for line in done.out.splitlines()} == BACKEND
    assert "pip install -e" in done.err
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    assert project["name"] == "ramure-my-cloud"
    assert project["entry-points"]["ramure"] == {"my-cloud": "ramure_my_cloud.plugin"}


def test_it_is_written_where_one_is(house):
    done = new(house, "ramure-my-cloud")
    assert done.code == 0, done.err
    assert files(house.folder / "ramure-my-cloud") == BACKEND


def test_a_harness_where_it_is_asked_for(house):
    folder = house.folder / "here"
    assert new(house, "my-cloud", "--harness", "-d", str(folder)).code == 0
    assert files(folder) == BACKEND | HARNESS


@pytest.mark.parametrize("harness", [(), ("--harness",)], ids=["backend", "harness"])
def test_nothing_is_left_to_fill_in_and_all_is_clean(house, harness):
    folder = house.folder / "ramure-cloud"
    assert new(house, "cloud", *harness, "--dir", str(folder)).code == 0
    for path in folder.rglob("*.*"):
        if path.is_file():
            assert not {"@if", "@end", "@name@", "@module@", "@Class@"} & set(
                path.read_text("utf-8").split()
            )
            assert "@module@" not in path.read_text("utf-8")
    settings = ("--isolated", "--line-length", "100", "--target-version", "py311")
    for check in (
        ("ruff", "format", *settings, "--diff", "."),
        ("ruff", "check", *settings, "--select", "E,F,I,D,ANN,UP,B,SIM,RET,ASYNC,RUF", "--config",
         'lint.pydocstyle.convention="google"', "--ignore", "D105,D107", "src"),
        ("ruff", "check", *settings, "--select", "E,F,I,UP,B,SIM,RUF", "tests"),
        ("mypy", "--strict", "--cache-dir", "/dev/null", "src"),
    ):  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-m", *check],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=200,
            env={**house.env, "RUFF_NO_CACHE": "true"},
        )
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("My Cloud", "lower case letters and digits"),
        ("my_cloud", "lower case letters and digits"),
        ("-cloud", "No such option"),
        ("9to5", "lower case letters and digits"),
        ("x" * 41, "lower case letters and digits"),
        ("ramure", "means something else"),
        ("class", "means something else"),
        ("local", "another plugin's"),
        ("docker", "another plugin's"),
        ("pi", "another plugin's"),
    ],
)
def test_names_that_cannot_be_used(house, name, said):
    done = new(house, name)
    assert done.code == 2
    assert said in done.err
    assert not list(house.folder.glob("ramure-*"))


def test_what_is_there_is_not_touched(house):
    folder = house.folder / "ramure-cloud"
    folder.mkdir()
    assert new(house, "cloud").code == 0  # an empty folder is as good as none
    before = (folder / "README.md").stat().st_mtime_ns
    done = new(house, "cloud")
    assert done.code == 2
    assert "not empty: say --dir" in done.err
    assert (folder / "README.md").stat().st_mtime_ns == before
    (house.folder / "file").write_text("x")
    assert "there is a file" in new(house, "cloud", "--dir", "file").err
    assert "cannot be written" in new(house, "cloud", "--dir", "file/in").err


def test_the_list_is_what_it_was(house):
    assert "local" in house.ramure("plugins").out
    assert house.ramure("plugins", "--json").json["plugins"][0]["name"] == "ramure"
    assert house.ramure("plugins", "old").code == 2


def test_the_placeholders_are_all_known():
    plan = scaffold.Plan("my-cloud", None, ("backend",))
    assert set(plan.names) == {"@name@", "@distribution@", "@module@", "@Class@", "@ramure@"}
    assert plan.names["@Class@"] == "MyCloud"
