// The daemon and its attaches, as processes of their own.

import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Decoder, Kind, count, encode, encodeJson } from "../../src/ramure/relay/node/frames.mjs";
import { ATTACH, Client, RELAY, start, until } from "./client.mjs";

let client;

beforeEach(async () => {
  client = new Client(start());
  await client.attach();
});

afterEach(async () => {
  if (existsSync(client.folder)) await client.attach().then(() => client.bye());
  await until(() => !existsSync(client.folder));
});

/** So long does something sleep that no other test's does, nor this one's on another Node.js. */
function seconds(number) {
  return `${number}${String(process.pid).padStart(8, "0")}`;
}

function runs(text) {
  return readdirSync("/proc").some((pid) => {
    try {
      return /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/cmdline`, "latin1").includes(text);
    } catch {
      return false;
    }
  });
}

function received() {
  return client.heard.reduce((sum, it) => sum + (it.kind === Kind.DATA ? it.payload.length : 0), 0);
}

test("frames come out as they went in, however they are cut", () => {
  const frames = [encode(1), encodeJson(16, 7, { a: "é" }), encode(18, 2 ** 32 - 1, 255, Buffer.from("x"))];
  const all = Buffer.concat(frames);
  for (let size = 1; size <= all.length; size++) {
    const decoder = new Decoder();
    const got = [];
    for (let at = 0; at < all.length; at += size) got.push(...decoder.feed(all.subarray(at, at + size)));
    assert.deepEqual(got.map((it) => [it.kind, it.channel, it.lane, it.payload.toString()]), [
      [1, 0, 0, ""],
      [16, 7, 0, '{"a":"é"}'],
      [18, 2 ** 32 - 1, 255, "x"],
    ]);
  }
});

test("a command: output, errors, exit code", async () => {
  const id = client.process("echo out; echo err >&2; exit 3");
  assert.equal(await client.ended(id, 1), "out\n");
  assert.equal(await client.ended(id, 2), "err\n");
  assert.deepEqual(await client.told(id, "exit"), { exit: 3, expired: false });
});

test("a command's end is told after all of its output, or the link could break in between", async () => {
  client.generous = false;
  const size = (1 << 20) + 100_000; // what there is credit for, and what pipes hold
  const id = client.process(`head -c ${size} /dev/zero`, { limit: 1e9 });
  await until(() => received() >= 1 << 20);
  await sleep(300);
  client.send(encode(Kind.CREDIT, id, 1, count(1 << 20)));
  await client.told(id, "exit");
  assert.equal(received(), size);
});

test("a command gets its input, and real pipes that can be opened again", async () => {
  const id = client.process(["tee", "/dev/stderr"]);
  client.send(encode(Kind.DATA, id, 0, Buffer.from("hello")));
  client.send(encode(Kind.END, id, 0));
  assert.equal(await client.ended(id, 1), "hello");
  assert.equal(await client.ended(id, 2), "hello");
});

test("a program that is not there, and a folder that is not there", async () => {
  assert.equal((await client.told(client.process(["ramure-no-such"]), "failed")).failed, "ENOENT");
  const { failed, place } = await client.told(client.process("true", { cwd: "/no/such" }), "failed");
  assert.deepEqual([failed, place], ["ENOENT", "/no/such"]);
  assert.equal((await client.told(client.process(["/etc"]), "failed")).failed, "EACCES");
});

test("what is beyond the limit is thrown away here", async () => {
  const id = client.process("head -c 5000000 /dev/zero; echo done >&2", { limit: 3 });
  assert.equal((await client.ended(id, 1)).length, 3);
  assert.equal(await client.ended(id, 2), "don");
  assert.equal((await client.told(id, "exit")).exit, 0);
});

test("all that happens while nobody is attached is told afterwards, once", async () => {
  const id = client.process("for i in 1 2 3 4 5 6 7 8 9; do echo $i; sleep 0.05; done");
  await client.told(id, "started");
  for (let cut = 0; cut < 4; cut++) {
    client.detach();
    await sleep(40);
    await client.attach();
  }
  assert.equal(await client.ended(id, 1), "1\n2\n3\n4\n5\n6\n7\n8\n9\n");
  await client.told(id, "exit");
  const exits = client.heard.filter((it) => it.json?.exit !== undefined);
  assert.equal(exits.length, 1);
});

test("a deadline is kept while nobody is attached", async () => {
  const mark = seconds(1);
  const id = client.process(`setsid sleep ${mark} & (setsid sleep ${mark} &) ; sleep ${mark}`, { timeout: 0.5 });
  await until(() => runs(mark));
  client.detach();
  await until(() => !runs(mark));
  await client.attach();
  assert.deepEqual(await client.told(id, "exit"), { exit: -9, expired: true });
});

test("killing kills what left its session, and says so", async () => {
  const mark = seconds(2);
  const id = client.process(`(setsid sleep ${mark} &); setsid env -i sleep ${mark} & sleep ${mark}`);
  await until(() => runs(mark));
  client.send(encodeJson(Kind.MESSAGE, id, { kill: true }));
  await client.told(id, "killed");
  assert.ok(!runs(mark));
  assert.equal((await client.told(id, "exit")).exit, -9);
});

test("killing outruns what forks, and clears its environment, while it is looked for", async () => {
  const mark = seconds(4);
  const id = client.process(`echo go; for i in $(seq 400); do setsid env -i sleep ${mark} & done; wait`);
  await until(() => client.heard.some((it) => it.text === "go\n"));
  client.send(encodeJson(Kind.MESSAGE, id, { kill: true }));
  await client.told(id, "killed");
  assert.ok(!runs(mark));
});

test("killing waits for who is amid a fork", { timeout: 60_000 }, async () => {
  for (let i = 0; i < 4; i++) {
    const mark = seconds(6);
    const id = client.process(["python3", join(import.meta.dirname, "slow_fork.py"), mark]);
    await until(() => client.heard.some((it) => it.channel === id && it.text?.startsWith("go")));
    await sleep(30 * i);
    client.send(encodeJson(Kind.MESSAGE, id, { kill: true }));
    await client.told(id, "killed");
    await sleep(200); // one that gets away has another's command line first
    assert.ok(!runs(mark));
  }
});

test("letting go of a command that runs kills it", async () => {
  const mark = seconds(3);
  const id = client.process(["sleep", mark]);
  await until(() => runs(mark));
  client.send(encode(Kind.CLOSE, id));
  await until(() => !runs(mark));
});

test("a signal reaches the group", async () => {
  const id = client.process("trap 'echo caught; exit 7' TERM; echo ready; sleep 100 & wait");
  await client.told(id, "started");
  await until(() => client.heard.some((it) => it.text === "ready\n"));
  client.send(encodeJson(Kind.MESSAGE, id, { signal: 15 }));
  assert.equal((await client.told(id, "exit")).exit, 7);
});

test("without credit the output waits, and so does the command", async () => {
  client.generous = false;
  const id = client.process("yes");
  await until(() => received() >= 1 << 20);
  await sleep(200);
  assert.equal(received(), 1 << 20);
  client.send(encode(Kind.CREDIT, id, 1, count(5)));
  await until(() => received() === (1 << 20) + 5);
});

test("a door: a socket that only its owner can reach", async () => {
  const door = client.open({ kind: "door" });
  const { listening } = await client.told(door, "listening");
  assert.equal(statSync(listening).mode & 0o77, 0);
  const socket = connect(listening);
  socket.write("hello");
  const opened = () => client.heard.find((it) => it.kind === Kind.OPEN);
  await until(opened);
  assert.deepEqual(opened().json, { door });
  const id = opened().channel;
  await until(() => client.heard.some((it) => it.kind === Kind.DATA && it.text === "hello"));
  client.detach(); // which it does not notice
  await client.attach();
  client.send(encode(Kind.DATA, id, 0, Buffer.from("there")));
  client.send(encode(Kind.END, id, 0));
  let answer = "";
  for await (const data of socket) answer += data;
  assert.equal(answer, "there");
  client.send(encode(Kind.CLOSE, door));
  await until(() => !existsSync(listening));
});

test("a connection that is closed gets all that was sent before", async () => {
  const door = client.open({ kind: "door" });
  const { listening } = await client.told(door, "listening");
  const socket = connect(listening);
  const opened = () => client.heard.find((it) => it.kind === Kind.OPEN);
  await until(opened);
  const id = opened().channel;
  for (let i = 0; i < 15; i++) client.send(encode(Kind.DATA, id, 0, Buffer.alloc(60_000, "x")));
  client.send(encode(Kind.END, id, 0));
  client.send(encode(Kind.CLOSE, id));
  await sleep(300); // more than fits into the socket waits in the daemon
  let size = 0;
  for await (const data of socket) size += data.length;
  assert.equal(size, 15 * 60_000);
});

test("without a program, all ends with the lease", async () => {
  const mark = seconds(5);
  const folder = start(0.5);
  const other = new Client(folder);
  await other.attach();
  other.process(`(setsid sleep ${mark} &) ; sleep ${mark}`);
  await until(() => runs(mark));
  await sleep(700); // longer than the lease, but attached
  assert.ok(runs(mark));
  other.detach();
  await until(() => !runs(mark));
  await until(() => !existsSync(folder));
  await until(() => !runs(folder));
});

test("where a heartbeat is agreed, being attached is not enough", async () => {
  const folder = start(0.5, "beat");
  const other = new Client(folder);
  await other.attach();
  for (let i = 0; i < 10; i++) {
    await sleep(100);
    other.ping();
  }
  assert.ok(existsSync(folder));
  await until(() => !existsSync(folder));
});

test("a second daemon in the same folder gives way", async () => {
  const second = spawn(process.execPath, [RELAY, "daemon", "5", "still"], { cwd: client.folder });
  const code = await new Promise((resolve) => second.on("exit", resolve));
  assert.equal(code, 1);
  assert.equal(await client.ended(client.process("echo here"), 1), "here\n");
});

test("an attach carries bytes both ways, and says when there is no daemon", async () => {
  client.detach();
  const attach = spawn("sh", ["-c", ATTACH, "attach", client.folder, "0"]);
  attach.stdin.write(encodeJson(Kind.HELLO, 0, { v: 1, got: 0 }));
  const decoder = new Decoder();
  const [data] = await new Promise((resolve) => attach.stdout.once("data", (...it) => resolve(it)));
  const [hello] = decoder.feed(data);
  assert.deepEqual(JSON.parse(hello.payload.toString()), { v: 1, got: 0 });
  attach.stdin.end();
  assert.equal(await new Promise((resolve) => attach.on("exit", resolve)), 0);

  const empty = mkdtempSync(join(tmpdir(), "relay-"));
  const { status, stderr } = spawnSync("sh", ["-c", ATTACH, "attach", empty, "0"], { encoding: "utf8" });
  rmSync(empty, { recursive: true });
  assert.equal(status, 75);
  assert.match(stderr, /does not run/);
});

test("what an attach was given before its input ended arrives, however late the daemon looks", async () => {
  const daemon = +readFileSync(join(client.folder, "pid"), "utf8");
  process.kill(daemon, "SIGSTOP");
  const attach = spawn("sh", ["-c", ATTACH, "attach", client.folder, "0"]);
  const said = [];
  attach.stdout.on("data", (data) => said.push(data));
  attach.stdin.end(encode(Kind.PING));
  await sleep(300);
  process.kill(daemon, "SIGCONT");
  assert.equal(await new Promise((resolve) => attach.on("close", resolve)), 0);
  const kinds = [...new Decoder().feed(Buffer.concat(said))].map(({ kind }) => kind);
  assert.deepEqual(kinds, [Kind.PONG]);
});
