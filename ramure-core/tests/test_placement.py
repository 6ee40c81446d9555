"""``image=`` and ``host=``: what they mean, and what is said where they mean nothing."""

import contextlib
import dataclasses
import itertools
import sys
from pathlib import Path
from types import ModuleType
from typing import ClassVar

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ramure.errors import PlacementError, PluginError
from ramure.hookspecs import BackendInfo, hookimpl
from ramure.machine import Backend, Image
from ramure.placement import ListenerOptions, read_host, resolve_placement, split_listener
from ramure.placement.occupancy import Occupancy
from ramure.plugins import Plugins
from ramure.values import Host

HANGS = 20
"""Seconds after which something hangs."""


@dataclasses.dataclass(frozen=True)
class BoxImage(Image):
    """Like Docker's: works on hosts that ssh reaches, too."""

    backend: ClassVar[str] = "box"
    reference: str = "default"


@dataclasses.dataclass(frozen=True)
class ShellImage(Image):
    """Like SSH's: a folder; needs an address."""

    backend: ClassVar[str] = "shell"
    folder: str = "~"


@dataclasses.dataclass(frozen=True)
class StrayImage(Image):
    backend: ClassVar[str] = "stray"


class Reading(Backend):
    """Reads, and makes nothing."""

    async def provision(self, image, host, *, name, labels, tools=None): ...
    async def attach(self, ref): ...
    async def find(self, labels, *, host=None): ...
    async def destroy(self, ref): ...


class BoxBackend(Reading):
    name: ClassVar[str] = "box"
    image_type: ClassVar[type[Image]] = BoxImage

    def read_image(self, text):
        if text and " " in text:
            raise PlacementError(f"image={text!r} is no reference")
        return BoxImage(text or "default")

    def check_host(self, host):
        if host.variant not in (None, "shell"):
            raise PlacementError(f"host={str(host)!r}: box knows no {host.variant!r}")

    def adopt_host(self, host):
        return Host("box", "shell", host.location) if host.backend == "shell" else None


class ShellBackend(Reading):
    name: ClassVar[str] = "shell"
    image_type: ClassVar[type[Image]] = ShellImage

    def read_image(self, text):
        return ShellImage(text or "~")

    def check_host(self, host):
        if host.location is None:
            raise PlacementError(f"host={str(host)!r}: which computer? say shell://name")


class Both:
    """The plugin."""

    @hookimpl
    def ramure_register_backends(self):
        yield BackendInfo("box", "boxes", f"{__name__}:BoxBackend", f"{__name__}:BoxImage")
        yield BackendInfo("shell", "shells", f"{__name__}:ShellBackend", f"{__name__}:ShellImage")


class Thief:
    @hookimpl
    def ramure_register_backends(self):
        yield BackendInfo("box", "mine", f"{__name__}:BoxBackend", f"{__name__}:BoxImage")


@pytest.fixture(autouse=True)
def this_module(monkeypatch):
    """Tests are no importable modules; the plugin's descriptions name what is here."""
    module = ModuleType(__name__)
    module.__dict__.update(globals())
    monkeypatch.setitem(sys.modules, __name__, module)


@pytest.fixture
def plugins():
    return Plugins.of(both=Both())


@pytest.fixture
def place(plugins, tmp_path, monkeypatch):
    """Resolve levels from the outermost to the innermost; give what comes of it as text."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()

    def place(*levels):
        placement = None
        for image, host in levels:
            placement = resolve_placement(image, host, inherited=placement, plugins=plugins)
        return placement

    return place


def shown(placement):
    image = {
        "box": lambda i: i.reference,
        "shell": lambda i: i.folder,
        "local": lambda i: "local",
    }[placement.backend](placement.image)
    return f"{placement.backend} {image} {' '.join(map(str, placement.hosts))}"


@pytest.mark.parametrize(
    ("image", "host", "expected"),
    [
        (None, None, "local local local"),
        (None, "local", "local local local"),
        (None, "box", "box default box"),
        (None, Host("box"), "box default box"),
        (None, "box+shell://me@host", "box default box+shell://me@host"),
        (None, "shell://me@host:22", "shell ~ shell://me@host:22"),
        ("folder", None, "local local local"),
        (Path("folder"), None, "local local local"),
        ("local:folder", None, "local local local"),
        ("box:python:3.12", None, "box python:3.12 box"),
        ("box:", None, "box default box"),
        ("python:3.12", "box", "box python:3.12 box"),
        ("box:python:3.12", "box", "box python:3.12 box"),
        ("box:box:dind", "box", "box box:dind box"),
        ("box:python", "shell://me@host", "box python box+shell://me@host"),
        ("/srv", "shell://host", "shell /srv shell://host"),
        ("shell:/srv", "shell://host", "shell /srv shell://host"),
        (BoxImage("a"), None, "box a box"),
        (BoxImage("a"), "box", "box a box"),
        (BoxImage("a"), "shell://host", "box a box+shell://host"),
        (None, ["shell://a", "shell://b"], "shell ~ shell://a shell://b"),
        (None, ("box",), "box default box"),
        (None, {"shell://a": 2, "shell://b": 1}, "shell ~ shell://a shell://b"),
        ("box:x", ["shell://a", "box"], "box x box+shell://a box"),
        ("x", ["box", "box+shell://a"], "box x box box+shell://a"),
    ],
    ids=str,
)
def test_one_level(place, image, host, expected):
    assert shown(place((image, host))) == expected


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        # nothing said: all is inherited
        ([("box:a", None), (None, None)], "box a box"),
        # another image of the same backend: the host stays
        ([(None, "box+shell://h"), ("b", None)], "box b box+shell://h"),
        ([(None, "box+shell://h"), ("box:b", None)], "box b box+shell://h"),
        ([("box:a", "shell://h"), (BoxImage("b"), None)], "box b box+shell://h"),
        # another host of the same backend: the image stays
        ([("box:a", None), (None, "box+shell://h")], "box a box+shell://h"),
        ([("x", "box"), (None, "box+shell://h")], "box x box+shell://h"),
        # what works together is kept
        ([(None, "shell://h"), ("box:a", None)], "box a box+shell://h"),
        ([("box:a", None), (None, "shell://h")], "box a box+shell://h"),
        # what disagrees is replaced
        ([("box:a", None), (None, "local")], "local local local"),
        ([("box:a", "shell://h"), ("local:folder", None)], "local local local"),
        ([("folder", None), (None, "shell://h")], "shell ~ shell://h"),
        ([("folder", None), ("box:a", None)], "box a box"),
        ([(None, None), ("box:a", None)], "box a box"),
        ([("shell:/a", "shell://h"), (None, "box")], "box default box"),
        # an image that nobody chose is not held on to
        ([(None, "box"), (None, "shell://h")], "shell ~ shell://h"),
        ([("box:a", None), (None, "local"), (None, "shell://h")], "shell ~ shell://h"),
        # pools are inherited as they are
        ([(None, ["box", "box+shell://h"]), ("b", None)], "box b box box+shell://h"),
        (
            [("box:a", None), (None, ["shell://g", "shell://h"])],
            "box a box+shell://g box+shell://h",
        ),
    ],
    ids=str,
)
def test_what_is_inherited(place, levels, expected):
    assert shown(place(*levels)) == expected


INSTALLED = "installed: box, local, shell"


@pytest.mark.parametrize(
    ("image", "host", "message"),
    [
        (
            None,
            "docker",
            (
                "host='docker': the backend 'docker' is not installed: pip install 'ramure[docker]'"
                f" ({INSTALLED})"
            ),
        ),
        (
            "docker:python:3.12",
            None,
            (
                "image='docker:python:3.12': the backend 'docker' is not installed:"
                f" pip install 'ramure[docker]' ({INSTALLED})"
            ),
        ),
        (
            "docker:python:3.12",
            "shell://h",
            (
                "image='docker:python:3.12', host='shell://h': the backend 'docker' is not"
                f" installed: pip install 'ramure[docker]' ({INSTALLED})"
            ),
        ),
        (
            None,
            "dokcer+tcp://h",
            (
                f"host='dokcer+tcp://h': there is no backend 'dokcer' ({INSTALLED});"
                " did you mean 'docker'?"
            ),
        ),
        (
            None,
            "boxx",
            f"host='boxx': there is no backend 'boxx' ({INSTALLED}); did you mean 'box'?",
        ),
        (
            None,
            "me@server",
            (
                "host='me@server': a host is name[+variant][://location], such as 'local', 'docker'"
                " or 'ssh://me@box'; did you mean 'ssh://me@server'?"
            ),
        ),
        (
            None,
            " Box",
            (
                "host=' Box': a host is name[+variant][://location], such as 'local', 'docker'"
                " or 'ssh://me@box'; did you mean 'box'?"
            ),
        ),
        (
            "python:3.12",
            None,
            (
                "image='python:3.12': there is no such folder, and there is no backend 'python'"
                f" ({INSTALLED}); for a container: 'docker:python:3.12'"
            ),
        ),
        (
            "Box:python",
            None,
            (
                "image='Box:python': there is no such folder, and there is no backend 'Box'"
                f" ({INSTALLED}); did you mean 'box'?"
            ),
        ),
        (
            "shell://me@host",
            None,
            "image='shell://me@host': this reads like a host; did you mean host='shell://me@host'?",
        ),
        (
            "box:a",
            "local",
            (
                "image='box:a', host='local': the image is for 'box', which cannot work on the host"
                " 'local'; leave one of them out, or name a host of 'box'"
            ),
        ),
        (
            "shell:/a",
            ["shell://h", "box"],
            (
                "image='shell:/a', host=['shell://h', 'box']: the image is for 'shell', which"
                " cannot work on the host 'box'; leave one of them out, or name a host of 'shell'"
            ),
        ),
        (
            "a",
            ["box", "shell://h"],
            (
                "image='a', host=['box', 'shell://h']: the hosts belong to several backends"
                " (box, shell); say which one the image is for, such as image='box:…'"
            ),
        ),
        (None, [], "host=[]: there is no host in it"),
        (None, {"box": 0}, "host={'box': 0}: the limit of 'box' must be a whole number from 1 on"),
        (None, 5, "host=5: a host is text, several hosts, or a function that returns one"),
        (5, None, "image=5: an image is text, or an image object such as LocalImage()"),
        ("", None, "image='': an image is text, or an image object such as LocalImage()"),
        (
            StrayImage(),
            None,
            f"image=StrayImage(): there is no backend 'stray' ({INSTALLED})",
        ),
        # what the backends say themselves
        ("box:a b", None, "image='a b' is no reference"),
        (None, "box+tcp://h", "host='box+tcp://h': box knows no 'tcp'"),
        (None, "shell", "host='shell': which computer? say shell://name"),
        ("shell:/a", None, "host='shell': which computer? say shell://name"),
    ],
    ids=str,
)
def test_messages(place, image, host, message):
    with pytest.raises(PlacementError) as caught:
        place((image, host))
    assert str(caught.value) == message


def test_a_name_that_two_plugins_claim_is_theirs_to_settle(place, plugins):
    plugins = Plugins.of(both=Both(), thief=Thief())
    with pytest.raises(PluginError, match="'box' is claimed by both and thief"):
        resolve_placement(None, "box", inherited=None, plugins=plugins)
    assert resolve_placement(None, "shell://h", inherited=None, plugins=plugins).backend == "shell"


def test_other_backends_are_not_imported(monkeypatch):
    class Broken:
        @hookimpl
        def ramure_register_backends(self):
            return [BackendInfo("broken", "-", "not_there:Backend", "not_there:Image")]

    plugins = Plugins.of(both=Both(), broken=Broken())
    assert resolve_placement("box:a", None, inherited=None, plugins=plugins).backend == "box"
    with pytest.raises(PluginError, match="cannot import not_there:Backend: ModuleNotFoundError"):
        resolve_placement(None, "broken", inherited=None, plugins=plugins)


# --- hosts as text

names = st.from_regex(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", fullmatch=True)
locations = st.text(st.characters(exclude_categories=["Z", "C"]), min_size=1)


@given(names, st.none() | names, st.none() | locations)
def test_a_host_reads_as_it_is_written(backend, variant, location):
    host = Host(backend, variant, location)
    assert read_host(str(host)) == host


@given(st.text())
def test_any_host_is_read_or_refused(text):
    with contextlib.suppress(PlacementError):
        assert str(read_host(text)) == text


@pytest.mark.parametrize(
    "text", ["", "+", "://", "box://", "box+://h", "box+ssh+x://h", "box\n", 5]
)
def test_what_is_no_host(text):
    with pytest.raises(PlacementError, match="a host is name"):
        read_host(text)


# --- pools


async def test_the_least_loaded_host_is_chosen(place):
    placement = place((None, ["shell://a", "shell://b", "shell://c"]))
    chosen = [(await placement.choose_host()).location for _ in range(4)]
    assert chosen == ["a", "b", "c", "a"]
    placement.release_host(Host("shell", None, "b"))
    assert (await placement.choose_host()).location == "b"
    again = place((None, ["shell://a", "shell://b"]))
    assert (await again.choose_host()).location == "b", "the load is the host's, not the pool's"


async def test_a_full_pool_is_waited_for(place):
    placement = place((None, {"shell://a": 1, "shell://b": 2}))
    for _ in range(3):
        taken = await placement.choose_host()
    got = []

    async def one_more():
        got.append(await placement.choose_host())

    with anyio.fail_after(HANGS):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(one_more)
            tasks.start_soon(one_more)
            await anyio.wait_all_tasks_blocked()
            assert got == []
            placement.release_host(taken)
            await anyio.wait_all_tasks_blocked()
            assert got == [taken]
            placement.release_host(Host("shell", None, "a"))


async def test_who_gives_up_waiting_takes_nothing():
    occupancy, host = Occupancy(), Host("box")
    await occupancy.take({host: 1})
    with anyio.move_on_after(0.01):
        await occupancy.take({host: 1})
    occupancy.leave(host)
    with anyio.fail_after(HANGS):
        assert await occupancy.take({host: 1}) == host


async def test_a_function_is_called_for_each_machine(place):
    answers = itertools.cycle(["shell://a", Host("box", "shell", "b")])
    placement = place(("box:x", lambda: next(answers)))
    chosen = [str(await placement.choose_host()) for _ in range(3)]
    assert chosen == ["box+shell://a", "box+shell://b", "box+shell://a"]


async def test_a_function_tells_the_backend_where_no_image_does(place):
    answers = iter(["shell://a", "shell://b"])
    placement = place((None, lambda: next(answers)))
    assert (placement.backend, placement.image) == ("shell", ShellImage())
    assert [str(await placement.choose_host()) for _ in range(2)] == ["shell://a", "shell://b"]


async def test_a_function_may_be_async(place):
    async def where():
        return "shell://a"

    placement = place(("shell:", where))
    assert str(await placement.choose_host()) == "shell://a"
    with pytest.raises(PlacementError, match="name it with the image, such as image='ssh:'"):
        place((None, where))
    with pytest.raises(PlacementError, match="name it with the image"):
        place((None, lambda: where()))  # noqa: PLW0108 not known to be async


@pytest.mark.parametrize("answer", ["local", "nothing://x", "Box", None])
async def test_a_function_with_a_wrong_answer(place, answer):
    placement = place(("box:x", lambda: answer))
    with pytest.raises(PlacementError):
        await placement.choose_host()
    if answer != "local":
        with pytest.raises(PlacementError):
            place((None, lambda: answer))


async def test_a_function_is_inherited(place):
    answers = itertools.cycle(["box+shell://a", "box+shell://b"])
    placement = place(("box:x", lambda: next(answers)), ("y", None))
    assert placement.image == BoxImage("y")
    assert str(await placement.choose_host()) == "box+shell://a"


# --- the listener's address


@pytest.mark.parametrize(
    ("given", "machines", "listener"),
    [
        ((None, None, None), None, None),
        (("box", None, None), "box", None),
        (("127.0.0.1", None, None), None, ListenerOptions("127.0.0.1", 0)),
        (("0.0.0.0", 8080, None), None, ListenerOptions("0.0.0.0", 8080)),
        (("::1", None, None), None, ListenerOptions("::1", 0)),
        (("[::1]", None, None), None, ListenerOptions("::1", 0)),
        (("localhost", 1, "wss://a.b"), None, ListenerOptions("localhost", 1, "wss://a.b")),
        (("box", 5000, None), "box", ListenerOptions("127.0.0.1", 5000)),
        ((None, 0, None), None, ListenerOptions("127.0.0.1", 0)),
        ((None, None, "ws://a:1/p"), None, ListenerOptions("127.0.0.1", 0, "ws://a:1/p")),
        ((["127.0.0.1"], None, None), ["127.0.0.1"], None),
    ],
    ids=str,
)
def test_split_listener(given, machines, listener):
    assert split_listener(*given) == (machines, listener)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((None, 65536, None), "port=65536: a port is a number from 0 to 65535"),
        ((None, -1, None), "port=-1"),
        ((None, "80", None), "port='80'"),
        ((None, True, None), "port=True"),
        ((None, 80.5, None), "port=80.5"),
        ((None, None, "http://a"), "base_url='http://a': agents dial it, so it must start with ws"),
        ((None, None, ""), "base_url=''"),
        ((None, None, "ws://"), "base_url='ws://'"),
    ],
)
def test_a_listener_that_cannot_be(given, message):
    with pytest.raises(PlacementError, match=message):
        split_listener(*given)
