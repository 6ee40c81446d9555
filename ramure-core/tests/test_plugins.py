"""Plugins: what is found, who claims what, and that a broken one breaks nobody else."""

import importlib.metadata
import logging
import subprocess
import sys
import textwrap
from types import ModuleType

import pytest
import typer
from typer.testing import CliRunner

import ramure
from ramure.errors import MissingPlugin, NotRegistered, PluginError
from ramure.events import Event
from ramure.hookspecs import (
    CONTRACT,
    BackendInfo,
    CheckInfo,
    HarnessInfo,
    TransportInfo,
    hookimpl,
)
from ramure.plugins import Plugins, resolve
from ramure.plugins.discovery import Source

HANGS = 60
"""Seconds after which something hangs."""


def plugin(**members):
    """A module with these members."""
    module = ModuleType("plugin")
    module.__dict__.update(members)
    return module


def registering(kind, *infos):
    """A plugin that registers these."""

    def register():
        return infos

    return plugin(**{f"ramure_register_{kind}": hookimpl(register)})


def backend(name):
    return BackendInfo(name, "a backend", "json:JSONDecoder", "json:JSONEncoder")


def problems(plugins):
    return [str(problem) for problem in plugins.problems]


# --- what is found


def test_what_core_brings_comes_through_the_same_hooks():
    plugins = Plugins.of()
    (builtin,) = plugins.installed
    assert (builtin.name, builtin.distribution, builtin.version) == (
        "ramure",
        "ramure",
        ramure.__version__,
    )
    assert builtin.registers == {
        "backends": list(plugins.backends()),
        "harnesses": list(plugins.harnesses()),
        "transports": list(plugins.transports()),
    }
    assert set(plugins.backends()) == {"local"}
    assert {"pi", "scripted"} <= set(plugins.harnesses())
    assert {"direct", "websocket"} <= set(plugins.transports())
    assert plugins.image_classes() == {"LocalImage": "ramure.backends.local:LocalImage"}
    assert plugins.problems == []


def test_what_core_brings_can_be_imported_and_has_the_name_that_it_claims():
    plugins = Plugins.of()
    for infos in (plugins.backends(), plugins.harnesses(), plugins.transports()):
        for name, info in infos.items():
            assert resolve(info.load).name == name
    assert resolve(plugins.backend("local").load).image_type is plugins.image_class("LocalImage")


def test_every_kind_can_be_registered():
    plugins = Plugins.of(
        a=registering("backends", backend("cloud")),
        b=registering("harnesses", HarnessInfo("robot", "-", "json:loads")),
        c=registering("transports", TransportInfo("pigeon", "-", "json:loads")),
        d=registering("checks", CheckInfo("weather", "-", "json:loads")),
    )
    assert plugins.backend("cloud") == backend("cloud")
    assert plugins.harness("robot").load == "json:loads"
    assert plugins.transport("pigeon").load == "json:loads"
    assert list(plugins.checks()) == ["weather"]
    assert plugins.image_class("JSONEncoder").__name__ == "JSONEncoder"
    assert plugins.reader("cloud") is plugins.reader("cloud")
    assert plugins.problems == []


def test_commands_are_added_to_the_cli():
    def ramure_register_commands(app):
        @app.command()
        def hello():
            typer.echo("hello")

        @app.command()
        def other(): ...

    plugins = Plugins.of(a=plugin(ramure_register_commands=hookimpl(ramure_register_commands)))
    app = typer.Typer()
    plugins.commands(app)
    assert CliRunner().invoke(app, ["hello"]).output == "hello\n"
    assert plugins.installed[1].registers == {"hooks": ["ramure_register_commands"]}


def test_load_gives_the_same_each_time():
    assert Plugins.load() is Plugins.load()


def test_installed_plugins_are_found(tmp_path):
    """A real distribution, in a process of its own."""
    (tmp_path / "shiny.py").write_text(
        textwrap.dedent("""
            from ramure.hookspecs import BackendInfo, hookimpl

            @hookimpl
            def ramure_register_backends():
                yield BackendInfo("shiny", "-", "sdk_not_there:Shiny", "shiny:Image")
        """)
    )
    install(tmp_path, "ramure-shiny", "shiny = shiny")
    install(tmp_path, "ramure-sad", "sad = sad_not_there")
    code = textwrap.dedent("""
        from ramure.plugins import Plugins
        plugins = Plugins.load()
        assert plugins.backend("shiny").load == "sdk_not_there:Shiny"
        assert plugins.backend("local")
        shiny = next(p for p in plugins.installed if p.name == "shiny")
        print(shiny.distribution, shiny.version, shiny.origin, shiny.registers, shiny.working)
        print(*(p.working for p in plugins.installed if p.name == "sad"))
        print(*plugins.problems, sep="\\n")
    """)
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=HANGS,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "ramure-shiny 1.5 shiny {'backends': ['shiny']} True",
        "False",
        (
            "ramure-sad: cannot be imported: ModuleNotFoundError: No module named 'sad_not_there'"
            " (pip install --upgrade ramure-sad, or uninstall it)"
        ),
    ]


def install(folder, name, point):
    info = folder / f"{name.replace('-', '_')}-1.5.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.5\n")
    (info / "entry_points.txt").write_text(f"[ramure]\n{point}\n")


def test_pluggy_is_imported_when_plugins_are_needed():
    code = "import sys, ramure.plugins; assert 'pluggy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=HANGS)


# --- what is not there


def test_a_known_plugin_that_is_not_installed():
    plugins = Plugins.of()
    with pytest.raises(MissingPlugin) as caught:
        plugins.backend("docker")
    assert str(caught.value) == (
        "the backend 'docker' is not installed: pip install 'ramure[docker]' (installed: local)"
    )
    with pytest.raises(ImportError, match=r"^DockerImage is not installed: pip install 'ramure\["):
        plugins.image_class("DockerImage")
    with pytest.raises(AttributeError, match="no installed plugin has an image class 'OddImage'"):
        plugins.image_class("OddImage")


@pytest.mark.parametrize(
    ("look_up", "message"),
    [
        (
            lambda p: p.backend("locla"),
            "there is no backend 'locla' (installed: local); did you mean 'local'?",
        ),
        (
            lambda p: p.harness("docker"),
            "there is no harness 'docker' (installed: pi, scripted)",
        ),
        (
            lambda p: p.transport("directly"),
            (
                "there is no transport 'directly' (installed: direct, relay, websocket);"
                " did you mean 'direct'?"
            ),
        ),
    ],
)
def test_an_unknown_name(look_up, message):
    with pytest.raises(NotRegistered) as caught:
        look_up(Plugins.of())
    assert str(caught.value) == message


def test_a_name_that_two_claim_belongs_to_neither():
    plugins = Plugins.of(
        one=registering("backends", backend("cloud"), backend("mine")),
        two=registering("backends", backend("cloud"), backend("local")),
    )
    for name, owners in (("cloud", "one and two"), ("local", "ramure and two")):
        with pytest.raises(PluginError) as caught:
            plugins.backend(name)
        assert str(caught.value) == (
            f"the backend '{name}' is claimed by {owners}; uninstall one of them"
        )
    assert plugins.backend("mine")
    assert list(plugins.backends()) == ["mine"]
    assert "one: the backend 'cloud' is claimed by one and two" in problems(plugins)
    assert "two: the backend 'cloud' is claimed by one and two" in problems(plugins)


def test_resolve():
    assert resolve("json:loads").__name__ == "loads"
    with pytest.raises(PluginError, match="cannot import not_there:x: ModuleNotFoundError: No mod"):
        resolve("not_there:x")
    with pytest.raises(PluginError, match="cannot import json:nothing: AttributeError: module"):
        resolve("json:nothing")
    with pytest.raises(PluginError, match="cannot import json: "):
        resolve("json")


# --- what is broken


def raising(*_args, **_kwargs):
    raise RuntimeError("boom")


def ramure_register_backends():
    raise RuntimeError("boom")


def yields_then_raises():
    yield backend("half")
    raise RuntimeError("boom")


@hookimpl(wrapper=True)
def wraps():
    yield


@hookimpl
def wants_more(more): ...


@hookimpl(specname="ramure_register_backend")
def nearly(): ...


@pytest.mark.parametrize(
    ("members", "problem"),
    [
        (
            {"ramure_register_backends": hookimpl(raising)},
            "bad: ramure_register_backends raised RuntimeError: boom",
        ),
        (
            {"ramure_register_backends": hookimpl(yields_then_raises)},
            "bad: ramure_register_backends raised RuntimeError: boom",
        ),
        (
            {"ramure_register_backends": hookimpl(lambda: ["docker"])},
            "bad: registered 'docker', which is no BackendInfo with a good name",
        ),
        (
            {"ramure_register_backends": hookimpl(lambda: None)},
            "bad: registered None, which is no BackendInfo with a good name",
        ),
        (
            {"ramure_register_backends": hookimpl(lambda: [backend("Bad Name")])},
            (
                "bad: registered BackendInfo(name='Bad Name', summary='a backend',"
                " load='json:JSONDecoder', image='json:JSONEncoder'), which is no BackendInfo"
                " with a good name"
            ),
        ),
        (
            {"ramure_register_backends": hookimpl(lambda: [backend(None)])},
            (
                "bad: registered BackendInfo(name=None, summary='a backend',"
                " load='json:JSONDecoder', image='json:JSONEncoder'), which is no BackendInfo"
                " with a good name"
            ),
        ),
        (
            {"ramure_register_backends": ramure_register_backends},
            "bad: ramure_register_backends is not marked with @ramure.hookimpl, so it is ignored",
        ),
        (
            {"ramure_register_backend": nearly},
            (
                "bad: implements ramure_register_backend, which is no hook of ramure,"
                " did you mean ramure_register_backends?"
            ),
        ),
        (
            {"ramure_register_backends": wraps},
            "bad: ramure_register_backends is a hook wrapper; ramure has none",
        ),
        (
            {"RAMURE_CONTRACT": CONTRACT + 1},
            (
                f"bad: was written for version {CONTRACT + 1} of ramure's contracts; this ramure"
                f" has version {CONTRACT} (pip install --upgrade ramure)"
            ),
        ),
        (
            {"RAMURE_CONTRACT": "x"},
            (
                f"bad: was written for version x of ramure's contracts; this ramure"
                f" has version {CONTRACT} (pip install --upgrade ramure)"
            ),
        ),
    ],
)
def test_a_broken_plugin_is_told_and_breaks_nobody(members, problem):
    plugins = Plugins.of(
        good=registering("backends", backend("cloud")),
        bad=plugin(**members),
        fine=registering("harnesses", HarnessInfo("robot", "-", "json:loads")),
    )
    assert problems(plugins) == [problem]
    assert list(plugins.backends()) == ["cloud", "local"]
    assert "robot" in plugins.harnesses()


def test_an_argument_that_the_hook_has_not():
    plugins = Plugins.of(bad=plugin(ramure_register_backends=wants_more))
    (problem,) = problems(plugins)
    assert problem.startswith("bad: ")
    assert "'more'" in problem
    assert plugins.backend("local")
    assert [p.working for p in plugins.installed] == [True, False]


def test_the_cure_names_the_distribution():
    def load():
        raise SystemExit(3)

    plugins = Plugins([Source("x", "ramure-x", "1", "x", load)])
    assert problems(plugins) == [
        (
            "ramure-x: cannot be imported: SystemExit: 3"
            " (pip install --upgrade ramure-x, or uninstall it)"
        )
    ]
    old = Plugins([Source("x", "ramure-x", "1", "x", lambda: plugin(RAMURE_CONTRACT=0))])
    assert problems(old)[0].endswith("(pip install --upgrade ramure-x)")


def test_the_same_object_twice():
    same = registering("backends", backend("cloud"))
    plugins = Plugins.of(one=same, two=same)
    assert plugins.backend("cloud")
    assert [p.plugin for p in plugins.problems] == ["two"]


def test_two_entry_points_of_one_distribution():
    plugins = Plugins(
        [
            Source("a", "things", "1", "a", lambda: registering("backends", backend("a"))),
            Source("b", "things", "1", "b", lambda: registering("backends", backend("b"))),
        ]
    )
    assert {"a", "b"} <= set(plugins.backends())
    assert [p.registers for p in plugins.installed[1:]] == [
        {"backends": ["a"]},
        {"backends": ["b"]},
    ]


def test_a_command_that_raises_stops_no_other():
    added = []

    def add(app):
        added.append(app)

    plugins = Plugins.of(
        bad=plugin(ramure_register_commands=hookimpl(lambda app: raising())),
        good=plugin(ramure_register_commands=hookimpl(add)),
    )
    app = typer.Typer()
    plugins.commands(app)
    assert added == [app]
    assert problems(plugins) == ["bad: ramure_register_commands raised RuntimeError: boom"]


# --- observers


def test_every_observer_sees_every_event_whoever_raises(caplog):
    seen = []

    def see(event):
        seen.append(event)

    plugins = Plugins.of(
        bad=plugin(ramure_observe=hookimpl(lambda event: raising())),
        good=plugin(ramure_observe=hookimpl(see)),
        quiet=plugin(ramure_observe=hookimpl(lambda: seen.append("called"))),
    )
    events = [Event("one"), Event("two")]
    failed = []
    with caplog.at_level(logging.WARNING):
        plugins.observe(events[0])
    plugins.observe(events[1], failed=lambda title, error: failed.append((title, str(error))))
    assert seen == [events[0], "called", events[1], "called"]
    assert failed == [("bad", "boom")]
    assert [record.getMessage() for record in caplog.records] == ["bad: ramure_observe raised"]
    assert problems(plugins) == ["bad: ramure_observe raised RuntimeError: boom"]


def test_an_observer_that_always_raises_fills_no_memory():
    count = iter(range(1000))

    def ramure_observe(event):
        raise RuntimeError(next(count))

    plugins = Plugins.of(bad=plugin(ramure_observe=hookimpl(ramure_observe)))
    for _ in range(1000):
        plugins.observe(Event("x"), failed=lambda *_: None)
    assert len(plugins.problems) == 1


def test_the_group_is_that_of_the_documents():
    from ramure.plugins.discovery import GROUP

    assert GROUP == "ramure"
    assert all(p.load for p in importlib.metadata.entry_points(group=GROUP))
