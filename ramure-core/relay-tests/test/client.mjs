// The program's side of a relay, for tests: as little of it as will do.

import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Decoder, Kind, count, encode, encodeJson, readCount } from "../../src/ramure/relay/node/frames.mjs";

export const RELAY = fileURLToPath(new URL("../../src/ramure/relay/node/relay.mjs", import.meta.url));
export const ATTACH = readFileSync(join(RELAY, "../attach.sh"), "utf8");
const PATIENCE = 20_000; // ms after which a test has hung

/** Start a daemon in a folder of its own; give the folder. */
export function start(lease = 5, heartbeat = "still") {
  const folder = mkdtempSync(join(tmpdir(), "relay-"));
  const { status } = spawnSync(process.execPath, [RELAY, "start", folder, `${lease}`, heartbeat]);
  if (status !== 0) throw new Error(`the daemon was not started: ${status}`);
  return folder;
}

export class Client {
  got = 0;
  sent = [];
  acknowledged = 0;
  generous = true; // gives credit for what comes
  heard = []; // numbered frames, as {kind, channel, lane, text, json}
  #next = 1;
  #socket = null;
  #changed = () => {};

  constructor(folder) {
    this.folder = folder;
  }

  /** Connect, or connect again. */
  async attach() {
    this.#socket?.destroy();
    const socket = await until(() => dial(join(this.folder, "relay.sock")));
    this.#socket = socket;
    const decoder = new Decoder();
    const greeted = new Promise((resolve) => {
      socket.on("data", (data) => {
        if (socket !== this.#socket) return;
        for (const frame of decoder.feed(data)) this.#take(frame, resolve);
      });
    });
    socket.on("error", () => {});
    socket.write(encodeJson(Kind.HELLO, 0, { v: 1, got: this.got }));
    const { got } = await greeted;
    for (const frame of this.sent.slice(got)) socket.write(frame);
  }

  #take(frame, greeted) {
    const text = frame.payload.toString();
    if (frame.kind === Kind.HELLO) greeted(JSON.parse(text));
    else if (frame.kind === Kind.ACK) this.acknowledged = readCount(frame.payload);
    else if (frame.kind >= Kind.OPEN) {
      this.got += 1;
      const isJson = frame.kind === Kind.OPEN || frame.kind === Kind.MESSAGE;
      this.heard.push({ ...frame, text, json: isJson ? JSON.parse(text) : null });
      if (frame.kind === Kind.DATA && this.generous)
        this.send(encode(Kind.CREDIT, frame.channel, frame.lane, count(frame.payload.length)));
    }
    this.#changed();
  }

  detach() {
    this.#socket.destroy();
  }

  /** Say that the daemon must end. */
  bye() {
    this.#socket.write(encode(Kind.BYE));
  }

  ping() {
    this.#socket.write(encode(Kind.PING));
  }

  send(frame) {
    this.sent.push(frame);
    if (!this.#socket.destroyed) this.#socket.write(frame);
  }

  open(what) {
    const id = this.#next;
    this.#next += 2;
    this.send(encodeJson(Kind.OPEN, id, what));
    return id;
  }

  process(command, options = {}) {
    const what = { kind: "process", command, cwd: "/", env: {}, timeout: null, limit: null };
    return this.open({ ...what, ...options });
  }

  /** Wait for a message about a channel that has this field; give it. */
  async told(id, field) {
    const found = () =>
      this.heard.find((it) => it.kind === Kind.MESSAGE && it.channel === id && field in it.json);
    await this.#until(found, `${field} of ${id}`);
    return found().json;
  }

  /** All that has come on a lane, once it has ended. */
  async ended(id, lane) {
    const of = (kind) => this.heard.filter((it) => it.kind === kind && it.channel === id && it.lane === lane);
    await this.#until(() => of(Kind.END).length, `the end of ${id}.${lane}`);
    return of(Kind.DATA).map((it) => it.text).join("");
  }

  async #until(reached, what) {
    let timer;
    const hung = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error(`no ${what}: ${JSON.stringify(this.heard)}`)), PATIENCE);
    });
    while (!reached()) {
      const change = new Promise((resolve) => (this.#changed = () => resolve(null)));
      await Promise.race([change, hung]);
    }
    clearTimeout(timer);
  }
}

function dial(path) {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once("connect", () => resolve(socket));
    socket.once("error", () => resolve(null));
  });
}

/** Ask again and again, until the answer is true. */
export async function until(ask) {
  const deadline = Date.now() + PATIENCE;
  for (;;) {
    const answer = await ask();
    if (answer) return answer;
    if (Date.now() > deadline) throw new Error(`hangs: ${ask}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
