// Doors: unix sockets here whose every connection is carried to the program, as a channel of its own
// with lane 0 each way.

import { chmodSync, existsSync, mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

const MAX_PATH = 100; // bytes; Linux takes 107 for a unix socket, macOS 103

const folders = new Set();

/** Listen as the program asks; tell it the path. */
export function open(channel, mux) {
  const path = place(`door-${channel.id}`);
  const sockets = new Set();
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
    carry(socket, mux.open({ door: channel.id }));
  });
  server.on("error", (/** @type {NodeJS.ErrnoException} */ error) => channel.message({ failed: error.code, reason: error.message }));
  server.listen({ path, backlog: 1024 }, () => {
    chmodSync(path, 0o600); // the folder keeps others out already
    channel.message({ listening: path });
  });
  channel.onclose = () => {
    server.close();
    for (const socket of sockets) socket.destroy();
    tidy(dirname(path));
  };
}

/**
 * In the relay's own folder, which is the owner's only. Where its path is too long, there is a short
 * one that leads there as long as this process lives; on systems without it, a new folder.
 */
function place(name) {
  for (const folder of [process.cwd(), `/proc/${process.pid}/cwd`])
    if (Buffer.byteLength(folder) + name.length < MAX_PATH && existsSync(folder)) return join(folder, name);
  const folder = mkdtempSync(join(Buffer.byteLength(tmpdir()) < 60 ? tmpdir() : "/tmp", "ramure-"));
  folders.add(folder);
  return join(folder, name);
}

function tidy(folder) {
  if (folders.delete(folder)) rmSync(folder, { recursive: true, force: true });
}

/** Remove what is left outside the relay's own folder. */
export function tidyAll() {
  for (const folder of folders) tidy(folder);
}

function carry(socket, channel) {
  let open = true;
  channel.incoming(0).into(socket);
  channel.outgoing(0).from(socket);
  channel.onclose = () => {
    open = false;
    if (socket.writableEnded) socket.destroySoon(); // all was said: whoever connected gets it
    else socket.destroy();
  };
  socket.on("close", () => {
    if (open) channel.close();
  });
}
