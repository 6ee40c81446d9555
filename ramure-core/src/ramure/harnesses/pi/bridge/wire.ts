/** One connection to the run: lines over a unix socket, or frames over a WebSocket. */

import { connect } from "node:net";

export interface WireEvents {
	/** The other side accepted the connection. */
	opened(): void;
	message(text: string): void;
	/** Called exactly once. `unreachable`: nobody was there to accept the connection. */
	closed(unreachable: boolean): void;
}

export interface Wire {
	/** True where connections end without a sign, so that the link has to ask for one. */
	readonly remote: boolean;
	send(text: string): void;
	close(): void;
}

/** Far above what a run sends in one message; beyond it the stream is not ours. */
const MAX_LINE = 256 * 1024 * 1024;

/**
 * Dial the run.
 *
 * @param address `unix:/absolute/path`, `ws://…` or `wss://…`.
 * @throws where the address is none of these, or this Node has no WebSocket.
 */
export function dial(address: string, events: WireEvents): Wire {
	if (address.startsWith("unix:")) return dialUnix(address.slice("unix:".length), events);
	if (/^wss?:/.test(address)) return dialWebSocket(address, events);
	throw new Error(`cannot dial ${JSON.stringify(address)}: not unix:, ws: or wss:`);
}

function dialUnix(path: string, events: WireEvents): Wire {
	const socket = connect({ path });
	let pieces: Buffer[] = [];
	let size = 0;
	let code: string | undefined;

	socket.on("connect", () => events.opened());
	socket.on("data", (chunk: Buffer) => {
		let start = 0;
		for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, start)) {
			pieces.push(chunk.subarray(start, end));
			const line = Buffer.concat(pieces).toString("utf8");
			pieces = [];
			size = 0;
			start = end + 1;
			if (line) events.message(line);
		}
		if (start < chunk.length) {
			pieces.push(chunk.subarray(start));
			size += chunk.length - start;
			if (size > MAX_LINE) socket.destroy();
		}
	});
	socket.on("error", (error: NodeJS.ErrnoException) => {
		code = error.code;
	});
	// A full backlog (EAGAIN) or a lack of descriptors here says nothing about the run's life.
	socket.on("close", () => events.closed(code === "ECONNREFUSED" || code === "ENOENT"));
	return {
		remote: false,
		send: (text) => {
			if (!socket.destroyed) socket.write(`${text}\n`);
		},
		close: () => socket.destroy(),
	};
}

function dialWebSocket(address: string, events: WireEvents): Wire {
	if (typeof WebSocket === "undefined") {
		throw new Error(`${address} needs Node.js 22 or newer; this is ${process.version}`);
	}
	const socket = new WebSocket(address);
	let opened = false;
	let over = false;
	// A refused connection gives `error` and, on some Node versions, no `close`.
	const end = () => {
		if (over) return;
		over = true;
		events.closed(!opened);
	};
	socket.addEventListener("open", () => {
		opened = true;
		events.opened();
	});
	socket.addEventListener("message", (event) => {
		if (!over && typeof event.data === "string") events.message(event.data);
	});
	socket.addEventListener("error", end);
	socket.addEventListener("close", end);
	return {
		remote: true,
		send: (text) => {
			if (socket.readyState === WebSocket.OPEN) socket.send(text);
		},
		close: () => {
			socket.close();
			end();
		},
	};
}
