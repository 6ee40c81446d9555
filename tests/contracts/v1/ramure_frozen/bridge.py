"""Speaks version 1 of the agent protocol: calls its tool with each message that it gets."""

import json
import os
import socket
import sys

told = json.loads(sys.stdin.readline())
door = socket.socket(socket.AF_UNIX)
door.connect(told["path"])
wire = door.makefile("rwb")
sent = 0


def put(**message):
    wire.write(json.dumps(message).encode() + b"\n")
    wire.flush()


def send(t, **fields):
    global sent
    sent += 1
    put(t=t, n=sent, **fields)


put(t="hello", v=1, agent=told["agent"], token=told["token"], session="s", got=0)
assert json.loads(wire.readline())["t"] == "welcome"
send("ready", harness="frozen", version="1", pid=os.getpid(), model="none")
for line in wire:
    message = json.loads(line)
    if message["t"] == "ping":
        put(t="pong")
    if not message.get("n") or message["t"] == "ack":
        continue
    put(t="ack", n=message["n"])
    if message["t"] == "message":
        send("queued", id=message["id"])
        send("taken", id=message["id"])
        send("state", state="busy")
        send("event", type="text", data={"text": message["text"]})
        send("usage", model="none", input=1, output=2, cost=0.5)
        send("call", call="c1", tool=told["tool"], arguments={"text": message["text"]})
    elif message["t"] == "result":
        send("state", state="idle")
    elif message["t"] == "stop":
        break
