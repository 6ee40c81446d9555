"""Whom pi dials: its model and its run, and nobody else."""

import json
from urllib.parse import urlsplit

import pytest

from ramure.run import protocol
from ramure.testing import ToolCall

pytestmark = pytest.mark.pi

RECORDER = """
const { appendFileSync } = require("node:fs");
const net = require("node:net");
const connect = net.Socket.prototype.connect;
net.Socket.prototype.connect = function (...args) {
  const first = Array.isArray(args[0]) ? args[0][0] : args[0];
  const whole = typeof first === "object";
  const target = whole ? first.path ?? `${first.host}:${first.port}` : `${first}`;
  appendFileSync(process.env.DIALLED, JSON.stringify(target) + "\\n");
  return connect.apply(this, args);
};
"""
"""Goes before pi's own code, and before that of all Node.js programs that pi starts."""


async def test_pi_dials_its_model_and_its_run_and_nobody_else(make_agent, tmp_path):
    recorder, dialled = tmp_path / "recorder.cjs", tmp_path / "dialled"
    recorder.write_text(RECORDER)
    env = {"NODE_OPTIONS": f"--require {recorder}", "DIALLED": str(dialled)}
    async with make_agent(env=env) as agent:
        agent.script = [ToolCall("bash", command="true"), "done"]
        await agent.start()
        agent.run.say("m1", "first")
        await agent.run.wait_for(protocol.Taken)
        await agent.run.wait_idle()
        model = urlsplit(agent.model.url).netloc
        run = str(agent.folder / "run.sock")
        said = [m for m in agent.run.messages if isinstance(m, protocol.State | protocol.Taken)]
    assert {json.loads(line) for line in dialled.read_text().splitlines()} == {model, run}
    assert isinstance(said[0], protocol.State)
    assert said[0].state == "busy"
