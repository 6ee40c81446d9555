// Finding and killing all that a process started, wherever it has gone: by a mark in its
// environment, which survives setsid and double forks, and by descent and session for what cleared
// its environment. Where there is no /proc, by ps: descent and session only.

import { spawnSync } from "node:child_process";
import { readFileSync, readdirSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

export const MARKS = "RAMURE_MARKS";
const BOUND = 5000; // ms after which killing gives up: what is left is stuck in the kernel
const STOPPING = 2000; // ms for what is told to stop; what has not by then may never, as in a frozen container

/**
 * Kill what carries `mark`, descends from `root` or is in its session.
 *
 * All is stopped before anything is killed, until a look finds nothing new: what was forked behind a
 * look's back is still found as the child of a parent that is there.
 */
export async function killTree(mark, root = null) {
  const deadline = Date.now() + BOUND;
  const frozen = new Set();
  let clean = 0;
  while (clean < 2 && Date.now() < deadline) {
    const found = members(mark, root, frozen); // one look can miss what forks and ends behind its back
    const fresh = found.filter((pid) => !frozen.has(pid));
    if (fresh.length) {
      const told = fresh.filter((pid) => kill(pid, "SIGSTOP"));
      for (const pid of fresh) frozen.add(pid);
      await stopped(told);
      continue;
    }
    root = null;
    killAll(frozen);
    clean = found.length ? 0 : clean + 1;
    await sleep(3);
  }
  killAll(frozen);
}

/** Wait until all have stopped: who is told to amid a fork ends that first, with a child to be found. */
async function stopped(pids) {
  const deadline = Date.now() + STOPPING;
  while (pids.some(runs) && Date.now() < deadline) await sleep(1);
}

/** Whether a thread of it runs, or sleeps and has yet to hear of a signal. Where there is no /proc, none. */
function runs(pid) {
  try {
    const threads = readdirSync(`/proc/${pid}/task`).map((thread) => stat(`${pid}/task/${thread}`));
    return threads.some((it) => it?.state === "R" || it?.state === "S");
  } catch {
    return false; // it has ended
  }
}

/** The youngest first: a parent's end would wake the stopped children that it leaves. */
function killAll(frozen) {
  for (const pid of [...frozen].reverse()) kill(pid);
  frozen.clear();
}

export function kill(pid, signal = "SIGKILL") {
  try {
    return process.kill(pid, signal);
  } catch {
    return false; // it has ended, or is somebody else's
  }
}

function members(mark, root, known) {
  const processes = table();
  const found = new Set(known);
  for (const { pid, session } of processes)
    if (pid === root || (root && session === root) || marked(pid, mark)) found.add(pid);
  for (let size = -1; size !== found.size; ) {
    size = found.size;
    for (const { pid, parent } of processes) if (found.has(parent)) found.add(pid);
  }
  found.delete(process.pid);
  return processes.filter((it) => found.has(it.pid) && it.state !== "Z").map((it) => it.pid);
}

function table() {
  let pids;
  try {
    pids = readdirSync("/proc").filter((name) => name >= "0" && name <= "9999999999");
  } catch {
    return tableOfPs();
  }
  return pids.map(stat).filter(Boolean);
}

function stat(pid) {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "latin1");
    // The name, in brackets, may hold anything.
    const [state, parent, , session] = text.slice(text.lastIndexOf(")") + 2).split(" ");
    return { pid: +pid, parent: +parent, session: +session, state };
  } catch {
    return null; // it has ended
  }
}

function tableOfPs() {
  const { stdout } = spawnSync("ps", ["-A", "-o", "pid=,ppid=,pgid=,stat="], { encoding: "utf8" });
  return (stdout ?? "").trim().split("\n").map((line) => {
    const [pid, parent, session, state = ""] = line.trim().split(/\s+/);
    return { pid: +pid, parent: +parent, session: +session, state: state.charAt(0) };
  });
}

function marked(pid, mark) {
  try {
    const text = readFileSync(`/proc/${pid}/environ`, "latin1");
    return text.includes(mark) && text.split("\0").some((line) => line.startsWith(`${MARKS}=`) && line.includes(mark));
  } catch {
    return false; // somebody else's, or ended
  }
}
