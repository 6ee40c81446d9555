"""The command line is described: every command, and every argument and option of each."""

import inspect
import re
import sys
from types import SimpleNamespace

import pytest

from doc_examples import ROOT
from ramure.operations import operations

sys.path.append(str(ROOT / "scripts"))

import command_pages

COMMANDS = dict(command_pages.commands())
MANUAL = (ROOT / "docs/reference/cli.md").read_text("utf-8")


def test_there_are_commands():
    assert {"ramure", "ramure ls", "ramure plugins", "ramure plugins new"} <= set(COMMANDS)


@pytest.mark.parametrize("words", COMMANDS)
def test_every_command_and_all_it_takes_say_what_they_are_for(words):
    command = COMMANDS[words]
    assert command.help
    for names, text in command_pages.parameters(command):
        assert text, f"{words}: {names} has no help"


@pytest.mark.parametrize("words", [words for words in COMMANDS if words != "ramure"])
def test_every_command_is_in_the_table(words):
    assert re.search(rf"^\| `{words}[` ]", MANUAL, re.MULTILINE)


def test_no_command_is_made_up():
    table = MANUAL.split("## Commands")[1].split("\n\n###")[0]
    rows = re.findall(r"^\| `(ramure [a-z ]*[a-z])", table, re.MULTILINE)
    assert set(rows) == set(COMMANDS) - {"ramure"}


def test_the_site_lists_what_every_command_takes():
    assert "[[all commands and what they take]]" in MANUAL
    said = command_pages.reference()
    for words, command in COMMANDS.items():
        assert f"### `{words}`" in said
        for parameter in command.params:
            for name in parameter.opts:
                shown = name if name.startswith("-") else parameter.metavar or name.upper()
                assert shown in said, f"{words}: {name}"


def test_options_that_are_named_are_there():
    given = [p for command in COMMANDS.values() for p in command.params]
    there = {name for p in given for name in (*p.opts, *p.secondary_opts)}
    named = set(re.findall(r"`(--[a-z-]+)", MANUAL))
    assert named - there <= {"--help", "--"}


def test_every_method_of_the_control_socket_has_all_its_parameters():
    section = MANUAL.split("## The control socket")[1].split("\n## ")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \|([^|]*)\|", section, re.MULTILINE))
    methods = operations(SimpleNamespace(runtime=None))
    assert set(rows) == set(methods)
    for name, method in methods.items():
        given = inspect.signature(method).parameters.values()
        told = set(re.findall(r"`(\w+)`", rows[name]))
        own = {p.name for p in given if p.kind is not p.VAR_KEYWORD}
        screen = {"columns", "rows", "term"} if len(own) < len(given) else set()
        assert told == own | screen, name
