"""Finding and installing pi, with packages and an npm of the test's own."""

import json
import os
import stat

import anyio
import pytest

from ramure import paths
from ramure.errors import AgentStartFailed
from ramure.harnesses.pi import install, toolset

NPM = """#!/bin/sh
# Does what npm does to a folder, as far as ramure looks at it.
echo "$@" >>"$NPM_LOG"
[ -z "$NPM_FAILS" ] || { echo "npm error network: no registry" >&2; exit 1; }
sleep 0.3
case $1 in
ci)
  [ -f package-lock.json ] || exit 3
  pi=node_modules/@earendil-works/pi-coding-agent
  mkdir -p $pi
  echo '{"name": "@earendil-works/pi-coding-agent", "version": "0.87.1",' >$pi/package.json
  echo '"bin": {"pi": "cli.js"}, "engines": {"node": ">=22.19.0"}}' >>$pi/package.json
  touch $pi/cli.js ;;
install)
  mkdir -p node_modules/node-x/bin
  printf '#!/bin/sh\\necho v22.23.3\\n' >node_modules/node-x/bin/node
  chmod +x node_modules/node-x/bin/node ;;
esac
"""


def program(folder, name, text):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
    (folder / name).chmod(0o755)
    return folder / name


def node(folder, version):
    return program(folder, "node", f"#!/bin/sh\necho {version}\n")


def package(folder, version="0.87.1", needs=">=22.19.0"):
    """An installed pi; gives its folder."""
    home = folder / "node_modules" / toolset.PACKAGE
    program(home, "cli.js", "")
    data = {"name": toolset.PACKAGE, "version": version, "bin": {"pi": "cli.js"}}
    (home / "package.json").write_text(json.dumps({**data, "engines": {"node": needs}}))
    return home


@pytest.fixture
def bin_folder(tmp_path, monkeypatch, ramure_home):
    """The one folder on the PATH that the test fills, before the system's necessities."""
    folder = tmp_path / "bin"
    program(folder, "tmux", "#!/bin/sh\n")
    system = program(tmp_path / "system", "keep", "").parent
    for name in ("sh", "mkdir", "touch", "chmod", "sleep", "cat"):
        (system / name).symlink_to(f"/bin/{name}")
    monkeypatch.setenv("PATH", f"{folder}:{system}")
    monkeypatch.setenv("NPM_LOG", str(tmp_path / "npm.log"))
    monkeypatch.delenv("RAMURE_PI", raising=False)
    return folder


async def test_takes_what_is_named(bin_folder, tmp_path, monkeypatch):
    node(bin_folder, "v22.20.0")
    home = package(tmp_path / "somewhere")
    for named in (home, home / "cli.js"):
        monkeypatch.setenv("RAMURE_PI", str(named))
        tools = await toolset.ensure()
        assert tools.cli == str(home / "cli.js")
        assert tools.version == "0.87.1"
        assert tools.node == str(bin_folder / "node")
        assert tools.tmux == str(bin_folder / "tmux")


async def test_prefers_the_node_that_was_installed_beside_it(bin_folder, tmp_path, monkeypatch):
    node(bin_folder, "v22.20.0")
    home = package(tmp_path / "somewhere")
    beside = node(tmp_path / "somewhere/node_modules/node/bin", "v22.21.0")
    monkeypatch.setenv("RAMURE_PI", str(home))
    assert (await toolset.ensure()).node == str(beside)


async def test_says_why_what_is_named_cannot_be_used(bin_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("RAMURE_PI", str(tmp_path / "nothing"))
    with pytest.raises(AgentStartFailed, match="is no pi"):
        await toolset.ensure()
    monkeypatch.setenv("RAMURE_PI", str(package(tmp_path / "somewhere")))
    node(bin_folder, "v20.20.0")
    with pytest.raises(AgentStartFailed, match=r"needs Node.js >=22\.19\.0"):
        await toolset.ensure()


@pytest.mark.parametrize(
    ("version", "used"),
    [("0.73.1", False), ("0.74.2", True), ("0.80.0", True), ("0.87.9", True), ("0.88.0", False)],
)
async def test_takes_a_tested_pi_from_the_path(bin_folder, tmp_path, version, used):
    node(bin_folder, "v20.20.0")
    home = package(tmp_path / "somewhere", version, needs=">=20.6.0")
    (bin_folder / "pi").symlink_to(home / "cli.js")
    assert (await toolset.find() is not None) == used


async def test_installs_what_is_missing(bin_folder, tmp_path):
    program(bin_folder, "npm", NPM)
    node(bin_folder, "v20.20.0")
    told = []
    tools = await toolset.ensure(told.append)
    assert tools.cli.startswith(str(paths.tools()))
    assert tools.node.endswith("node-x/bin/node")
    assert "installing pi" in told[0]
    first, second = (tmp_path / "npm.log").read_text().splitlines()
    assert first.split()[:2] == ["ci", "--ignore-scripts"]
    assert "--no-save" in second
    assert await toolset.ensure(told.append) == tools
    assert len(told) == 2


async def test_needs_no_other_node_where_the_systems_is_new(bin_folder, tmp_path):
    program(bin_folder, "npm", NPM)
    node(bin_folder, "v24.1.0")
    tools = await toolset.ensure(lambda text: None)
    assert tools.node == str(bin_folder / "node")
    assert len((tmp_path / "npm.log").read_text().splitlines()) == 1


async def test_two_at_once_install_once(bin_folder, tmp_path):
    program(bin_folder, "npm", NPM)
    node(bin_folder, "v24.1.0")
    told = []
    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(toolset.ensure, told.append)
    assert len((tmp_path / "npm.log").read_text().splitlines()) == 1
    assert sum("waiting" in text for text in told) == 2


async def test_a_failed_installation_says_what_npm_said_and_leaves_nothing(bin_folder, monkeypatch):
    program(bin_folder, "npm", NPM)
    node(bin_folder, "v24.1.0")
    monkeypatch.setenv("NPM_FAILS", "1")
    with pytest.raises(AgentStartFailed, match="no registry"):
        await toolset.ensure(lambda text: None)
    assert os.listdir(paths.tools()) == ["pi.lock"]  # noqa: PTH208 names only
    assert stat.S_IMODE(paths.tools().stat().st_mode) == 0o700


async def test_a_cancelled_installation_leaves_nothing(bin_folder):
    program(bin_folder, "npm", NPM)
    node(bin_folder, "v24.1.0")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(toolset.ensure, lambda text: tasks.cancel_scope.cancel())
    assert os.listdir(paths.tools()) == ["pi.lock"]  # noqa: PTH208 names only


async def test_says_what_to_install_where_there_is_no_npm_or_no_tmux(bin_folder):
    with pytest.raises(AgentStartFailed, match="no npm"):
        await toolset.ensure()
    (bin_folder / "tmux").unlink()
    with pytest.raises(AgentStartFailed, match="apt install tmux"):
        await toolset.ensure()


def test_the_lock_file_fits_and_names_no_registry():
    shipped = install.files("ramure.harnesses.pi") / "npm"
    lock = json.loads((shipped / "package-lock.json").read_text())
    assert lock["packages"][f"node_modules/{toolset.PACKAGE}"]["version"] == install.VERSION
    assert toolset.TESTED[-1] == install.VERSION
    assert not [path for path, entry in lock["packages"].items() if "resolved" in entry]


async def test_a_node_that_says_nothing(bin_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(toolset, "NODE_WITHIN", 0.3)
    program(bin_folder, "node", "#!/bin/sh\nexec sleep 3600\n")
    monkeypatch.setenv("RAMURE_PI", str(package(tmp_path / "somewhere")))
    with anyio.fail_after(20), pytest.raises(AgentStartFailed, match="says nothing within"):
        await toolset.ensure()


async def test_an_npm_that_does_not_end(bin_folder, monkeypatch):
    monkeypatch.setattr(install, "NPM_WITHIN", 0.3)
    program(bin_folder, "npm", "#!/bin/sh\nexec sleep 3600\n")
    with anyio.fail_after(20), pytest.raises(AgentStartFailed, match="did not end within"):
        await toolset.ensure(lambda text: None)
    assert not list(paths.tools().glob(".pi-*"))
