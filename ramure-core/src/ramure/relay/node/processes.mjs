// Commands. Lane 0 is a command's input, 1 its output, 2 its errors.

import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { accessSync, constants as modes } from "node:fs";
import { constants } from "node:os";
import { join } from "node:path";
import { stdio } from "./pipes.mjs";
import { MARKS, kill, killTree } from "./tree.mjs";

const QUIET = 100; // ms without output after which nothing more is awaited of a command that ended
const GRACE = 1000; // ms after which it is not awaited in any case
const FOREVER = 2e6; // seconds, about: timers take no more

/** A mark in the environment of everything that this daemon ever starts. */
export const MARK = newMark();

const SHELL = shell();

function newMark() {
  return randomBytes(8).toString("hex");
}

function shell() {
  for (const folder of (process.env.PATH ?? "").split(":"))
    try {
      accessSync(join(folder, "bash"), modes.X_OK);
      return "bash";
    } catch {
      // not here
    }
  return "sh";
}

/** Why nothing can be started in a folder, if so. */
function unusable(folder) {
  try {
    accessSync(`${folder}/.`, modes.X_OK);
    return null;
  } catch (error) {
    return error;
  }
}

/** Start what the program asks for, and tell it how that goes. */
export function open(channel, what) {
  new Command(channel, what);
}

class Command {
  #channel;
  #child;
  #mark = newMark();
  #running = true;
  #expired = false;
  #deadline = null;
  #streams = [];
  #bounded = false;

  constructor(channel, what) {
    this.#channel = channel;
    channel.onmessage = (message) => this.#told(message);
    channel.onclose = () => this.#leave();
    try {
      this.#start(what);
    } catch (error) {
      this.#failed(error, what.cwd);
    }
  }

  #start({ command, cwd, env, timeout, limit }) {
    const [program, ...words] = typeof command === "string" ? [SHELL, "-c", command] : command;
    const marks = [process.env[MARKS], MARK, this.#mark].filter(Boolean).join(":");
    const pipes = stdio();
    const [input, output, errors] = pipes.ours;
    try {
      this.#child = spawn(program, words, {
        cwd,
        env: { ...process.env, ...env, [MARKS]: marks },
        stdio: pipes.theirs,
        detached: true,
      });
    } catch (error) {
      pipes.ours.forEach((end) => end.destroy());
      throw error;
    } finally {
      pipes.release();
    }
    this.#child.on("error", (error) => this.#failed(error, cwd));
    this.#channel.incoming(0).into(input);
    if (this.#child.pid === undefined) return pipes.ours.forEach((end) => end.destroy());
    this.#child.on("exit", (code, signal) => this.#exited(code, signal));
    this.#channel.message({ started: this.#child.pid });
    this.#channel.outgoing(1).from(output, limit);
    this.#channel.outgoing(2).from(errors, limit);
    this.#streams = pipes.ours;
    this.#bounded = limit !== null;
    if (timeout && timeout < FOREVER)
      this.#deadline = setTimeout(() => this.#expire(), timeout * 1000);
  }

  #failed(error, cwd) {
    this.#running = false;
    const place = cwd && unusable(cwd); // Node.js tells of the program what is the folder's
    if (place) this.#channel.message({ failed: place.code, reason: place.message, place: cwd });
    else this.#channel.message({ failed: error.code ?? "EIO", reason: error.message });
  }

  #expire() {
    this.#expired = true;
    this.#kill();
  }

  async #told(message) {
    if (message.signal && this.#running) kill(-this.#child.pid, message.signal);
    if (message.kill) {
      await this.#kill();
      this.#channel.message({ killed: true });
    }
  }

  #kill() {
    return killTree(this.#mark, this.#running ? this.#child.pid : null);
  }

  async #exited(code, signal) {
    this.#running = false;
    clearTimeout(this.#deadline);
    await this.#settle();
    if (this.#bounded) for (const lane of [1, 2]) this.#channel.outgoing(lane).end();
    const exit = signal === null ? code : -constants.signals[signal];
    this.#channel.message({ exit, expired: this.#expired });
  }

  /** Send what an ended command left, without waiting for children that hold its pipes. */
  async #settle() {
    const outputs = [this.#channel.outgoing(1), this.#channel.outgoing(2)];
    const seen = () => outputs.reduce((sum, output) => sum + output.seen, 0);
    let until = Date.now() + GRACE;
    for (;;) {
      // Whoever gave a bound reads to the end. Others may never: then it is not waited for.
      const open = outputs.filter((it) => !it.ended && (this.#bounded || !it.starved));
      if (!open.length) return;
      const before = seen();
      if (await anyEnds(open, QUIET)) continue;
      if (this.#channel.linkIsFull || open.some((it) => it.starved)) until = Date.now() + GRACE;
      else if (seen() === before || Date.now() > until) return;
    }
  }

  /** The program has let go: a command that runs is killed with all that it started. */
  #leave() {
    clearTimeout(this.#deadline);
    if (this.#running && this.#child) this.#kill();
    for (const stream of this.#streams) stream.destroy();
  }
}

function anyEnds(outputs, ms) {
  return new Promise((resolve) => {
    // A loop that was held up sees its timers before late output, which counts.
    const timer = setTimeout(() => setImmediate(resolve, false), ms);
    for (const output of outputs)
      output.onended = () => {
        clearTimeout(timer);
        resolve(true);
      };
  });
}
