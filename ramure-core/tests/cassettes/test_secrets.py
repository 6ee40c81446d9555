"""No secret is ever in a cassette."""

import base64
import re
from pathlib import Path
from urllib.parse import quote

import pytest

from ramure.testing import CassetteError, Text

MINE = 'my "own" secret/1'


async def test_secrets_that_are_said_are_removed(studio, say, monkeypatch):
    monkeypatch.setenv("DATABASE_PASSWORD", "correct-horse-77")
    monkeypatch.setenv("THE_KEY", "spacebar")  # no secret: a word

    def script(request):
        return [Text(f"{MINE} and {request.text} and T-4711", chunk=1000)]

    key = "sk-of-the-real-provider-0123456789"
    said = f"correct-horse-77, {MINE}, {key}, Bearer abcdefghijklmnop0123, spacebar"
    coded = f"{base64.b64encode(MINE.encode()).decode()}, {quote(MINE, safe='')}"
    options = {"secrets": [MINE, re.compile(r"T-\d{4}")]}
    async with studio.record(script, **options) as model:
        answer = await say(model, f"{said}, {coded}, {model.key}")
        assert MINE in answer.text  # whoever asked gets all of it
        own = model.key
    text = studio.text
    for secret in (studio.key, own, key, MINE, "own", "correct-horse", "T-4711", "abcdefghijkl"):
        assert secret not in text, secret
    assert base64.b64encode(MINE.encode()).decode() not in text
    assert quote(MINE, safe="") not in text
    assert "spacebar" in text
    assert text.count("<secret>") >= 10
    # What was secret is so still: the request is the same.
    async with studio.play(**options) as model:
        again = await say(model, f"{said}, {coded}, {model.key}")
    assert "<secret> and " in again.text


async def test_a_secret_in_pieces_is_not_written(studio, say):
    script = ["Nothing.", Text(f"It is {MINE}.", chunk=3)]

    async def run():
        async with studio.record(script, secrets=[MINE]) as model:
            await say(model, "Hi")
            await say(model, "Hi", "Nothing.", "Tell me.")

    with pytest.raises(CassetteError, match="in pieces, in the answer to request 2") as raised:
        await run()
    assert MINE not in str(raised.value)
    assert not studio.path.exists()


async def test_the_persons_folders_are_not_told(studio, say, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "me"))

    def script(request):
        return Text(f"It is in {Path.home()}/notes and {tmp_path}/work/a.txt", chunk=1000)

    prompt = "Hi.\n\n<cwd>\n{}\n</cwd>"
    async with studio.record(script) as model:
        system = prompt.format(tmp_path / "work")
        await say(model, f"Look at {Path.home()}/notes.", system=system)
    assert str(tmp_path) not in studio.text
    monkeypatch.setenv("HOME", "/another")
    async with studio.play() as model:
        system = prompt.format("/elsewhere")
        answer = await say(model, "Look at /another/notes.", system=system)
    assert answer.text == "It is in /another/notes and /elsewhere/a.txt"
