/** A run's side of the protocol on a real socket, and as much of pi as the bridge uses. */

import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ExtensionAPI, ExtensionContext } from "@earendil-works/pi-coding-agent";

export type Message = Record<string, any>;

/** Wait for something; a test that waits longer hangs. */
export async function until<T>(
	look: () => T | undefined | false,
	what = "it",
	milliseconds = 20_000,
): Promise<T> {
	const deadline = performance.now() + milliseconds;
	for (;;) {
		const found = look();
		if (found !== undefined && found !== false) return found;
		if (performance.now() > deadline) throw new Error(`waited in vain for ${what}`);
		await pause(5);
	}
}

export function pause(milliseconds: number): Promise<void> {
	return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

export class Run {
	readonly folder = mkdtempSync(join(tmpdir(), "bridge-"));
	readonly path = join(this.folder, "run.sock");
	readonly hellos: Message[] = [];
	readonly messages: Message[] = [];
	readonly acks: number[] = [];
	readonly pongs: Message[] = [];
	readonly sockets = new Set<Socket>();
	readonly #outbox: Message[] = [];
	#server: Server | undefined;
	got = 0;
	lease = 30;
	limit = 0;
	acknowledges = true;
	/** What a hello is answered with; undefined: nothing. */
	greet = (): Message | undefined => ({
		t: "welcome",
		v: 1,
		run: "r",
		got: this.got,
		lease: this.lease,
		max_message: this.limit,
	});

	async listen(): Promise<this> {
		rmSync(this.path, { force: true });
		const server = createServer((socket) => this.#serve(socket));
		this.#server = server;
		await new Promise<void>((resolve) => server.listen(this.path, resolve));
		return this;
	}

	/** Nobody is there any more. */
	async gone(): Promise<void> {
		const closed = new Promise((resolve) => this.#server?.close(resolve));
		this.cut();
		await closed;
		rmSync(this.path, { force: true });
	}

	cut(): void {
		for (const socket of this.sockets) socket.destroy();
	}

	async close(): Promise<void> {
		await this.gone();
		rmSync(this.folder, { recursive: true });
	}

	send(message: Message): void {
		this.#outbox.push({ ...message, n: this.#outbox.length + 1 });
		for (const socket of this.sockets) this.put(socket, this.#outbox.at(-1) as Message);
	}

	put(socket: Socket, message: Message): void {
		socket.write(`${JSON.stringify(message)}\n`);
	}

	of(t: string): Message[] {
		return this.messages.filter((message) => message.t === t);
	}

	#serve(socket: Socket): void {
		this.sockets.add(socket);
		let rest = "";
		socket.setEncoding("utf8");
		socket.on("data", (data: string) => {
			const lines = (rest + data).split("\n");
			rest = lines.pop() as string;
			for (const line of lines) this.#take(socket, JSON.parse(line));
		});
		socket.on("error", () => {});
		socket.on("close", () => this.sockets.delete(socket));
	}

	#take(socket: Socket, message: Message): void {
		if (message.t === "hello") {
			this.hellos.push(message);
			const greeting = this.greet();
			if (greeting) this.put(socket, greeting);
			if (greeting?.t !== "welcome") return;
			for (const kept of this.#outbox) if (kept.n > message.got) this.put(socket, kept);
		} else if (message.t === "ack") this.acks.push(message.n);
		else if (message.t === "pong") this.pongs.push(message);
		else if (message.n === this.got + 1) {
			this.got = message.n;
			this.messages.push(message);
			if (this.acknowledges) this.put(socket, { t: "ack", n: this.got });
		} else if (message.n > this.got) throw new Error(`a gap before ${message.n}`);
	}
}

type Handler = (event: any, ctx: ExtensionContext) => unknown;

/** pi, as an extension sees it. The test plays the agent's loop. */
export class Pi {
	readonly handlers = new Map<string, Handler[]>();
	readonly tools = new Map<string, any>();
	active: string[] = ["bash"];
	readonly sent: { text: string; deliverAs: string | undefined }[] = [];
	readonly notices: string[] = [];
	idle = true;
	aborted = 0;
	shutdowns = 0;
	pending = false;
	signal: AbortSignal | undefined;
	model: Message | undefined = { provider: "p", id: "m", name: "M" };
	error: string | undefined;
	auth = true;
	editor = "";
	entries: Message[] = [];

	readonly api = {
		on: (name: string, handler: Handler) => {
			this.handlers.set(name, [...(this.handlers.get(name) ?? []), handler]);
		},
		registerTool: (tool: any) => {
			if (!this.tools.has(tool.name)) this.active.push(tool.name);
			this.tools.set(tool.name, tool);
		},
		getActiveTools: () => [...this.active],
		setActiveTools: (names: string[]) => {
			this.active = names.filter((name) => name === "bash" || this.tools.has(name));
		},
		sendUserMessage: (text: string, options?: { deliverAs?: string }) => {
			this.sent.push({ text, deliverAs: options?.deliverAs });
			if (options?.deliverAs) this.pending = true;
		},
	} as unknown as ExtensionAPI;

	readonly ctx: ExtensionContext;

	constructor() {
		const pi = this;
		this.ctx = {
			isIdle: () => this.idle,
			hasPendingMessages: () => this.pending,
			abort: () => {
				this.aborted += 1;
			},
			shutdown: () => {
				this.shutdowns += 1;
			},
			ui: {
				notify: (text: string) => this.notices.push(text),
				getEditorText: () => this.editor,
				setEditorText: (text: string) => {
					this.editor = text;
				},
			},
			get model() {
				return pi.model;
			},
			get signal() {
				return pi.signal;
			},
			sessionManager: { getEntries: () => this.entries },
			modelRegistry: {
				getError: () => this.error,
				hasConfiguredAuth: () => this.auth,
			},
		} as unknown as ExtensionContext;
	}

	async emit(name: string, event: Message = {}): Promise<void> {
		for (const handler of this.handlers.get(name) ?? []) await handler(event, this.ctx);
	}

	/** The agent's loop begins with a message. */
	async begin(text: string): Promise<void> {
		this.idle = false;
		await this.emit("agent_start");
		await this.shows(text);
	}

	async shows(text: string): Promise<void> {
		this.pending = false;
		await this.emit("message_start", { message: { role: "user", content: text } });
	}

	async says(fields: Message): Promise<void> {
		const message = { role: "assistant", provider: "p", model: "m", content: [], ...fields };
		await this.emit("message_end", { message });
	}

	async end(settles = true): Promise<void> {
		await this.emit("agent_end", { messages: [] });
		this.idle = true;
		if (settles) await this.emit("agent_settled");
	}
}
