// Real pipes for child processes. Node.js gives its children sockets, which cannot be opened again:
// `tee /dev/stderr` would fail. Pipes can only be had by name here, so a few named ones are kept
// ready; each is used once and loses its name at once.

import { execFile, spawnSync } from "node:child_process";
import { closeSync, constants, openSync, unlinkSync } from "node:fs";
import { Socket } from "node:net";

const BATCH = 96;
const LOW = 48; // more are made beside the work, before there are none
const { O_NONBLOCK, O_RDONLY, O_WRONLY } = constants;

const spare = [];
let made = 0;
let making = false;

function name() {
  if (!spare.length) {
    const names = batch();
    const { status, stderr, error } = spawnSync("mkfifo", ["-m", "600", ...names]);
    if (status !== 0) throw error ?? new Error(`mkfifo: ${stderr}`);
    spare.push(...names);
  } else if (spare.length < LOW && !making) {
    const names = batch();
    making = true;
    execFile("mkfifo", ["-m", "600", ...names], (error) => {
      making = false;
      if (!error) spare.push(...names); // else whoever finds none tries again, and says why
    });
  }
  return spare.pop();
}

function batch() {
  return Array.from({ length: BATCH }, () => `pipe-${++made}`);
}

/** Three pipes: `theirs` are descriptors for a child, to be closed after its start. */
export function stdio() {
  const opened = [];
  const open = (path, flags) => opened[opened.push(openSync(path, flags)) - 1];
  try {
    const all = [toChild(open), fromChild(open), fromChild(open)];
    const theirs = all.map((pipe) => pipe.theirs);
    const ours = all.map((pipe, lane) => end(pipe.ours, lane === 0));
    return { theirs, ours, release: () => theirs.forEach((fd) => closeSync(fd)) };
  } catch (error) {
    opened.forEach((fd) => closeSync(fd)); // too many open files, say
    throw error;
  }
}

// The end that opens first must not wait for the other.

function toChild(open) {
  const path = name();
  const reader = openSync(path, O_RDONLY | O_NONBLOCK);
  const ours = open(path, O_WRONLY | O_NONBLOCK);
  const theirs = open(path, O_RDONLY);
  closeSync(reader);
  unlinkSync(path);
  return { theirs, ours };
}

function fromChild(open) {
  const path = name();
  const ours = open(path, O_RDONLY | O_NONBLOCK);
  const theirs = open(path, O_WRONLY);
  unlinkSync(path);
  return { theirs, ours };
}

function end(fd, writable) {
  return new Socket({ fd, readable: !writable, writable });
}
