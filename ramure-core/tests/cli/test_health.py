"""``ramure plugins``, ``ramure doctor`` and ``ramure gc``."""

import json
import shutil

import psutil
import pytest


@pytest.fixture
def tools(house):
    """A folder to be the whole PATH, with nothing but links to these programs."""

    def link(*names):
        folder = house.folder / "bin"
        folder.mkdir(exist_ok=True)
        for name in names:
            (folder / name).symlink_to(shutil.which(name))
        return str(folder)

    return link


def findings(done):
    return {finding["check"]: finding for finding in json.loads(done.out)}


def test_plugins(house):
    said = house.ramure("plugins", "--json").json
    builtin = said["plugins"][0]
    assert builtin["name"] == "ramure"
    assert "local" in builtin["registers"]["backends"]
    assert "pi" in builtin["registers"]["harnesses"]
    assert "local" in house.ramure("plugins").out


@pytest.mark.pi
def test_doctor_is_content_where_everything_is_there(house, pi):
    done = house.ramure("doctor", "--json", **pi)
    found = findings(done)
    own = {"python", "tmux", "pi", "model", "home", "sockets", "leftovers"}
    assert own <= set(found)
    lacking = {check for check, finding in found.items() if finding["state"] == "missing"}
    assert not lacking, found  # plugins that are installed, and have no engine and no token here
    assert done.code == 0
    assert found["tmux"]["state"] == found["pi"]["state"] == "ok"
    assert found["model"]["state"] == "note"
    assert "ok    python" in house.ramure("doctor", **pi).out


def test_doctor_says_what_is_missing_and_the_cure(house, tools):
    done = house.ramure("doctor", "--json", PATH=tools())
    found = findings(done)
    assert done.code == 1
    assert found["tmux"]["state"] == "missing"
    assert "apt install tmux" in found["tmux"]["cure"]
    assert found["pi"]["state"] == "missing"
    assert "npm install" in found["pi"]["cure"]


def test_doctor_looks_at_the_home(house):
    house.home.mkdir()
    house.home.chmod(0o777)
    found = findings(house.ramure("doctor", "--json"))
    assert found["home"]["state"] == "missing"
    assert found["home"]["cure"] == f"chmod go-w {house.home}"


def test_doctor_finds_a_model_without_telling_a_secret(house):
    done = house.ramure("doctor", "--json", ANTHROPIC_API_KEY="sk-secret")
    assert findings(done)["model"]["what"] == "pi can use $ANTHROPIC_API_KEY"
    folder = house.folder / "person/.pi/agent"
    folder.mkdir(parents=True)
    (folder / "auth.json").write_text('{"openai": {"type": "api_key", "key": "sk-secret"}}')
    again = house.ramure("doctor", "--json")
    assert findings(again)["model"]["what"] == "pi can use pi's login for openai"
    assert "sk-secret" not in done.out + done.err + again.out + again.err


def test_nothing_to_collect(house, live):
    collected = house.ramure("gc", "--json").json
    assert collected == {"removed": {}, "left": [], "elsewhere": {}, "dry_run": False}
    assert house.ramure("status").code == 0


def test_gc_removes_a_stale_socket(house, dead_run):
    socket = house.home / "runtimes" / f"{dead_run}.sock"
    assert dead_run in house.ramure("gc", "--dry-run").out
    assert socket.exists()
    assert house.ramure("gc", "--json").json["removed"] == {dead_run: []}
    assert not socket.exists()
    assert house.ramure("gc").err == "nothing is left over\n"


def test_a_run_of_another_host_is_told_as_such(house, dead_run):
    """Its home is shared, and its lock may not reach here: it may well live."""
    folder = house.home / "runtimes" / dead_run
    folder.mkdir(mode=0o700)
    (folder / "lock").touch()
    run = {"op": "run", "host": "far-away", "boot": "another", "machine": "another"}
    (folder / "ledger.jsonl").write_text(json.dumps(run) + "\n")
    said = f"the run {dead_run} belongs to the host far-away"
    for arguments in (("gc", "--dry-run"), ("gc",)):
        done = house.ramure(*arguments)
        assert (done.code, done.out) == (0, ""), arguments
        assert said in done.err
    assert house.ramure("gc", "--json").json["elsewhere"] == {dead_run: "far-away"}
    assert folder.exists()
    assert folder.with_suffix(".sock").exists()
    found = findings(house.ramure("doctor", "--json"))["leftovers"]
    assert (found["state"], found["cure"]) == ("ok", "")
    assert f"{dead_run} (far-away)" in found["what"]
    chosen = house.ramure("status", "--id", dead_run)
    assert chosen.code == 3
    assert said in chosen.err
    assert "died" not in house.ramure("status").err


def test_gc_removes_what_a_killed_run_and_its_keeper_left(house, live):
    other = house.start()
    program = psutil.Process(live.process.pid)
    # The keeper first: it would clean up at once.
    for child in program.children(recursive=True):
        child.kill()
    program.kill()
    live.process.wait(60)
    folder = house.home / "runtimes" / live.id
    assert folder.exists()
    removed = house.ramure("gc", "--json").json["removed"]
    assert list(removed) == [live.id]
    assert removed[live.id]
    assert not folder.exists()
    assert not folder.with_suffix(".sock").exists()
    assert house.ramure("status", "--json").json["run"]["id"] == other.id


PLUGIN = """
from typing import Annotated

import ramure
import typer
from ramure.hookspecs import CheckInfo

@ramure.hookimpl
def ramure_register_commands(app):
    @app.command()
    def shout(text: str):
        print(text.upper())
    @app.command()
    def ls():
        print("not the real one")
    @app.command()
    def impossible(what: Annotated[str, typer.Option(), typer.Argument()]):
        pass

@ramure.hookimpl
def ramure_register_checks():
    return [
        CheckInfo("engine", "looks at the engine", "a_plugin:check"),
        CheckInfo("weather", "looks outside", "a_plugin:raise_"),
        CheckInfo("moon", "looks further", "a_plugin:unused"),
    ]

async def check():
    return [ramure.Problem("no engine", "start one")]

async def unused():
    return [ramure.Problem("nobody is there", "go there", unused=True)]

async def raise_():
    raise RuntimeError("rain")
"""


def test_a_plugin_adds_commands(house, plugins):
    env = plugins(a_plugin=PLUGIN)
    said = house.ramure("shout", "hello", **env)
    assert (said.code, said.out) == (0, "HELLO\n")
    assert "shout" in house.ramure("--help", **env).out


def test_a_plugins_bad_commands_are_left_out(house, plugins):
    env = plugins(a_plugin=PLUGIN)
    said = house.ramure("shout", "hello", **env)
    assert "left out: ls is taken" in said.err
    assert said.err.count("left out") == 2
    listed = house.ramure("ls", "--json", **env)
    assert (listed.out, listed.err) == ("[]\n", "")


@pytest.mark.parametrize(
    "source", ["raise SystemExit(3)", "import nothing_like_this", "RAMURE_CONTRACT = 99", "def ("]
)
def test_a_broken_plugin_breaks_nothing(house, plugins, source):
    env = plugins(a_plugin=PLUGIN, broken=source)
    assert house.ramure("ls", **env).code == 0
    assert house.ramure("--help", **env).code == 0
    assert house.ramure("shout", "hello", **env).out == "HELLO\n"
    assert "broken" in house.ramure("plugins", **env).err
    done = house.ramure("doctor", "--json", **env)
    assert done.code == 1
    assert "broken" in findings(done)["plugin"]["what"]


def test_doctor_runs_the_checks_of_plugins(house, plugins):
    found = findings(house.ramure("doctor", "--json", **plugins(a_plugin=PLUGIN)))
    assert (found["engine"]["what"], found["engine"]["cure"]) == ("no engine", "start one")
    assert "rain" in found["weather"]["what"]


def test_what_nobody_uses_is_a_note_unless_it_is_asked_for(house, plugins):
    env = plugins(a_plugin=PLUGIN)
    assert findings(house.ramure("doctor", "--json", **env))["moon"]["state"] == "note"
    asked = house.ramure("doctor", "moon", "--json", **env)
    assert [finding["state"] for finding in json.loads(asked.out)] == ["missing"]
    assert asked.code == 1
    unknown = house.ramure("doctor", "sun", **env)
    assert unknown.code == 2
    assert "moon" in unknown.err
