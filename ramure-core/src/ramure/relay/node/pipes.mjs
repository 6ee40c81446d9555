// Real pipes for child processes. Node.js gives its children sockets, which cannot be opened again:
// `tee /dev/stderr` would fail. Pipes can only be had by name here, so a few named ones are kept
// ready; each is used once and loses its name at once.

import { spawnSync } from "node:child_process";
import { closeSync, constants, openSync, unlinkSync } from "node:fs";
import { Socket } from "node:net";

const BATCH = 96;
const { O_NONBLOCK, O_RDONLY, O_WRONLY } = constants;

const spare = [];
let made = 0;

function name() {
  if (!spare.length) {
    for (let i = 0; i < BATCH; i++) spare.push(`pipe-${++made}`);
    const { status, stderr, error } = spawnSync("mkfifo", ["-m", "600", ...spare]);
    if (status !== 0) {
      spare.length = 0;
      throw error ?? new Error(`mkfifo: ${stderr}`);
    }
  }
  return spare.pop();
}

/** Three pipes: `theirs` are descriptors for a child, to be closed after its start. */
export function stdio() {
  const [input, output, errors] = [toChild(), fromChild(), fromChild()];
  const all = [input, output, errors];
  return {
    theirs: all.map((pipe) => pipe.theirs),
    ours: all.map((pipe) => pipe.ours),
    release: () => all.forEach((pipe) => closeSync(pipe.theirs)),
  };
}

function toChild() {
  const path = name();
  const reader = openSync(path, O_RDONLY | O_NONBLOCK); // lets the others open without waiting
  const fd = openSync(path, O_WRONLY | O_NONBLOCK);
  const theirs = openSync(path, O_RDONLY);
  closeSync(reader);
  unlinkSync(path);
  return { theirs, ours: new Socket({ fd, readable: false, writable: true }) };
}

function fromChild() {
  const path = name();
  const fd = openSync(path, O_RDONLY | O_NONBLOCK);
  const theirs = openSync(path, O_WRONLY);
  unlinkSync(path);
  return { theirs, ours: new Socket({ fd, readable: true, writable: false }) };
}
