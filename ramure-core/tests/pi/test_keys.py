"""Which keys agents elsewhere get: their provider's, and nothing else."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

import parts
from ramure.errors import AgentStartFailed
from ramure.harnesses.pi import keys, launch, providers
from ramure.harnesses.pi.toolset import Tools
from ramure.testing._stage import processes_with
from ramure.values import AgentSpec

HANGS = 60
OAUTH = {"type": "oauth", "access": "a-token", "refresh": "r-token", "expires": 1}


@pytest.fixture
def person(tmp_path, monkeypatch):
    """Whose pi folder has what is written into it; there is no key in the environment."""
    for names in (*providers.VARIABLES.values(), *providers.COMPANIONS.values()):
        for name in names:
            monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(keys.FOLDER, str(tmp_path))

    def write(**files):
        for name, value in files.items():
            (tmp_path / f"{name}.json").write_text(json.dumps(value))
        return tmp_path

    return write


def granted(model=None, env=None, **options):
    """The agent's files, as values, and its environment."""
    spec = AgentSpec("r", "w", "t", "/s", "/", model=model, env=env or {}, options=options)
    access = keys.grant(spec)
    assert "secret" not in repr((spec, access))
    if access is None:
        return None
    files = {name.removesuffix(".json"): json.loads(text) for name, text in access.files.items()}
    return {**files, "env": access.env}


def key(text):
    return {"type": "api_key", "key": text}


def test_the_models_provider_gets_its_key_from_the_file(person):
    person(auth={"anthropic": key("secret-a"), "openai": key("secret-o"), "xai": OAUTH})
    assert granted("openai/gpt-5")["auth"] == {"openai": key("secret-o")}
    assert granted("anthropic/claude:high")["auth"] == {"anthropic": key("secret-a")}


def test_or_from_the_environment(person, monkeypatch):
    person(auth={"anthropic": key("secret-a"), "openai": OAUTH})
    monkeypatch.setenv("OPENAI_API_KEY", "secret-e")
    monkeypatch.setenv("GROQ_API_KEY", "secret-g")
    assert granted("openai/gpt-5")["auth"] == {"openai": key("secret-e")}
    assert granted("groq/x", env={"GROQ_API_KEY": "secret-own"})["auth"]["groq"] == key(
        "secret-own"
    )


def test_without_a_model_the_default_provider_counts_and_then_pis_own_order(person, monkeypatch):
    person(auth={"mistral": key("secret-m")}, settings={"defaultProvider": "mistral"})
    monkeypatch.setenv("XAI_API_KEY", "secret-x")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "secret-a")
    assert list(granted()["auth"]) == ["mistral"]
    assert list(granted("a-model-of-some-provider")["auth"]) == ["mistral"]
    person(settings={})
    assert list(granted()["auth"]) == ["anthropic"]


def test_keys_that_go_with_others_go_through_the_environment(person, monkeypatch):
    person()
    given = {
        "AWS_ACCESS_KEY_ID": "secret-i",
        "AWS_SECRET_ACCESS_KEY": "secret-k",
        "AWS_REGION": "eu-north-1",
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("OPENAI_API_KEY", "secret-o")
    access = granted("amazon-bedrock/x")
    assert access["env"] == given
    assert access["auth"] == {}


def test_a_provider_of_ones_own_comes_with_what_it_names_here(person, monkeypatch):
    monkeypatch.setenv("MY_KEY", "secret-k$!")
    monkeypatch.setenv("MY_TEAM", "secret-team")
    mine = {
        "baseUrl": "https://llm.example",
        "apiKey": "$MY_KEY",
        "headers": {"x-team": "team ${MY_TEAM}", "x-price": "$$1"},
        "models": [{"id": "m"}, {"id": "n", "headers": {"x": "MY_TEAM"}}],
    }
    person(models={"providers": {"mine": mine, "other": {"apiKey": "secret-other"}}})
    given = granted("mine/m")["models"]["providers"]
    assert given == {
        "mine": {
            **mine,
            "apiKey": "secret-k$$!",
            "headers": {"x-team": "team secret-team", "x-price": "$$1"},
            "models": [{"id": "m"}, {"id": "n", "headers": {"x": "secret-team"}}],
        }
    }
    assert granted("mine/m", keys={"mine": "secret-2"})["auth"] == {"mine": key("secret-2")}
    assert "secret-k" not in str(granted("mine/m", keys={"mine": "secret-2"}))


def test_models_may_have_comments_as_pi_takes_them(person):
    text = """// mine
    {"providers": { // all of them
        "mine": {"baseUrl": "http://a//b", "apiKey": "secret \\" , }", "models": [1, 2, ], },
    }, }"""
    (person() / "models.json").write_text(text)
    given = granted("mine/m")["models"]["providers"]["mine"]
    assert given == {"baseUrl": "http://a//b", "apiKey": 'secret " , }', "models": [1, 2]}


def test_commands_are_run_here(person):
    person(auth={"openai": key("!printf 'secret-%s' from-a-command"), "groq": key("!false")})
    assert granted("openai/x")["auth"] == {"openai": key("secret-from-a-command")}
    with pytest.raises(AgentStartFailed, match="gave none"):
        granted("groq/x")


def test_a_sign_in_is_good_for_this_computer_only(person):
    person(auth={"anthropic": OAUTH, "openai": key("secret-o")})
    with pytest.raises(AgentStartFailed, match=r"keys=\{'anthropic'"):
        granted("anthropic/x")


def test_what_keys_says(person, monkeypatch):
    person(auth={"anthropic": key("secret-a"), "openai": key("secret-o")})
    monkeypatch.setenv("GH_TOKEN", "secret-gh")
    given = granted("anthropic/x", keys=["openai", "GH_TOKEN"])
    assert given["auth"] == {"openai": key("secret-o")}
    assert given["env"] == {"GH_TOKEN": "secret-gh"}
    given = granted("anthropic/x", keys={"openai": "secret-1", "GH_TOKEN": "secret-2"})
    assert given["auth"] == {"openai": key("secret-1")}
    assert given["env"] == {"GH_TOKEN": "secret-2"}
    assert granted("anthropic/x", keys=[]) is None


@pytest.mark.parametrize("wrong", ["openai", [1], {"openai": ""}, {"openai": None}])
def test_keys_that_make_no_sense(person, wrong):
    person()
    with pytest.raises(AgentStartFailed, match="keys="):
        granted("openai/x", keys=wrong)


@pytest.mark.parametrize("missing", ["NO_SUCH_KEY", "openai"])
def test_keys_that_are_not_there(person, missing):
    person()
    with pytest.raises(AgentStartFailed, match=missing):
        granted(keys=[missing])


def test_nothing_to_give(person):
    person()
    assert granted() is None
    assert granted("openai/gpt-5") is None
    person(auth={"openai": key("secret-o")})
    assert granted("openai/x", env={keys.FOLDER: "/there"}) is None


def test_settings_that_concern_agents_are_kept(person):
    ours = {"defaultProvider": "openai", "defaultModel": "m", "retry": {"enabled": False}}
    person(auth={"openai": key("secret-o"), "groq": key("secret-g")}, settings={**ours, "x": "y"})
    assert granted()["settings"] == ours
    assert granted("groq/x")["settings"] == {"retry": {"enabled": False}}


def test_a_folder_that_cannot_be_read(person):
    (person() / "auth.json").write_text("{")
    with pytest.raises(AgentStartFailed, match=r"auth\.json cannot be read"):
        granted()


# --- on the machine


def started(folder):
    """An agent's launcher with a program that does nothing, in a session of its own."""
    folder.mkdir()
    spec = AgentSpec("r", "w", "t", str(folder), str(folder))
    access = keys.Access({"auth.json": '{"openai": "secret"}'}, {})
    tools = Tools("node", "cli", "0.87.1", "tmux")
    script = launch.prepare(
        spec, tools, "unix:/nowhere", cache=str(folder), keep=False, access=access
    )
    subprocess.run(["sh", "-s"], input=script, text=True, check=True)
    words = ["sh", "-c", 'cd "$0" && . ./launch.sh', str(folder), "sleep", "1000"]
    return subprocess.Popen(words, start_new_session=True)


def pi_folder(folder):
    return Path((folder / "keys").read_text().strip())


def until(condition):
    deadline = time.monotonic() + HANGS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_keys_go_where_everything_is_killed_at_once(tmp_path):
    folder = tmp_path / "state"
    launcher = started(folder)
    until((folder / "started").exists)
    until(lambda: processes_with(str(pi_folder(folder)), environment=False))
    own = pi_folder(folder)
    assert (own / "auth.json").stat().st_mode & 0o777 == 0o600
    assert own.stat().st_mode & 0o777 == 0o700
    os.killpg(launcher.pid, signal.SIGKILL)
    launcher.wait()
    until(lambda: not own.exists())
    until(lambda: not processes_with(str(own), environment=False))


def test_a_further_start_takes_the_former_keys_away(tmp_path):
    folder = tmp_path / "state"
    spec = AgentSpec("r", "w", "t", str(folder), str(folder))
    folder.mkdir()
    made = []
    for _ in range(2):
        script = launch.prepare(
            spec,
            Tools("node", "cli", "0.87.1", "tmux"),
            "unix:/nowhere",
            cache=str(folder),
            keep=False,
            access=keys.Access({"auth.json": "{}"}, {}),
        )
        subprocess.run(["sh", "-s"], input=script, text=True, check=True)
        made.append(pi_folder(folder))
    assert [one.exists() for one in made] == [False, True]
    subprocess.run(launch.forget(spec), check=True)
    assert not made[-1].exists()
    assert not (folder / "keys").exists()


# --- what is pi's


ASKS = """
import { findEnvKeys } from "./env-api-keys.js";
for (const [provider, names] of Object.entries(JSON.parse(process.argv[1]))) {
  const all = Object.fromEntries(names.map((name) => [name, "x"]));
  const found = names.filter((name) => findEnvKeys(provider, { [name]: "x" })?.includes(name));
  if (found.length !== names.length) console.log(provider, names);
}
"""


@pytest.mark.pi
def test_the_variables_are_pis(tmp_path):
    folder = Path(parts.pi_package()).parent / "pi-ai/dist"
    asked = {name: names for name, names in providers.VARIABLES.items() if name != "amazon-bedrock"}
    done = subprocess.run(
        ["node", "--input-type=module", "-e", ASKS, json.dumps(asked)],
        cwd=folder,
        capture_output=True,
        check=True,
        text=True,
    )
    assert done.stdout == ""
    known = (folder / "env-api-keys.js").read_text()
    assert all(name in known for name in providers.VARIABLES["amazon-bedrock"])
