/**
 * The link to the run: it outlives its connections.
 *
 * What is sent is numbered and kept until the run acknowledges it, and sent again over the next
 * connection; what arrives twice is dropped. The link redials for ever, until it is closed, refused
 * for good, or its lease runs out.
 */

import { randomUUID } from "node:crypto";
import { type FromAgent, type FromRun, type Unnumbered, VERSION } from "./protocol.ts";
import { dial, type Wire } from "./wire.ts";

export interface LinkSettings {
	address: string;
	agent: string;
	token: string;
	/** Seconds to go on while the run is out of reach. */
	lease: number;
}

export interface LinkEvents {
	message(message: FromRun): void;
	/** The agent's program has to end. */
	end(reason: string): void;
	/** Something that a person at the terminal may want to know. */
	notice(text: string): void;
}

/** Unacknowledged bytes beyond which activity events are left out. */
const MAX_BACKLOG = 4 * 1024 * 1024;
const FIRST_DELAY = 50;
/** Milliseconds between two attempts at most: on this computer, and over a network. */
const LONGEST_DELAY = { unix: 2_000, remote: 10_000 };
/** Milliseconds of silence after which a remote connection is asked, and then given up. */
const ASK_AFTER = 15_000;
const SILENT_AFTER = 45_000;

export class Link {
	readonly #settings: LinkSettings;
	readonly #events: LinkEvents;
	readonly #session = randomUUID();
	#wire: Wire | undefined;
	#welcomed = false;
	#closed = false;
	#sent = 0;
	#got = 0;
	#ackDue = false;
	#outbox: { n: number; text: string; bytes: number }[] = [];
	#backlog = 0;
	#leftOut = 0;
	#limit = Number.POSITIVE_INFINITY;
	#lease: number;
	#attempts = 0;
	#lostAt: number | undefined;
	#heardAt = 0;
	#redial: NodeJS.Timeout | undefined;
	#pulse: NodeJS.Timeout | undefined;
	#emptied: (() => void)[] = [];

	constructor(settings: LinkSettings, events: LinkEvents) {
		this.#settings = settings;
		this.#events = events;
		this.#lease = settings.lease;
	}

	/** Start dialling. */
	open(): void {
		this.#dial();
	}

	/** Stop for good. */
	close(): void {
		this.#closed = true;
		clearTimeout(this.#redial);
		clearInterval(this.#pulse);
		this.#wire?.close();
	}

	/**
	 * Send a message, now or when there is a connection again.
	 *
	 * @returns false where it exceeds what the run takes; nothing is sent then.
	 */
	send(message: FromAgent): boolean {
		if (message.t === "event" && !this.#roomForEvent()) return true;
		const n = this.#sent + 1;
		const text = JSON.stringify({ ...message, n });
		const bytes = Buffer.byteLength(text);
		if (bytes > this.#limit) return false;
		this.#sent = n;
		this.#outbox.push({ n, text, bytes });
		this.#backlog += bytes;
		if (this.#welcomed) this.#wire?.send(text);
		return true;
	}

	/** Wait until all is acknowledged, at most `milliseconds`. */
	async flush(milliseconds: number): Promise<void> {
		if (this.#outbox.length === 0) return;
		await new Promise<void>((resolve) => {
			const timer = setTimeout(resolve, milliseconds);
			this.#emptied.push(() => {
				clearTimeout(timer);
				resolve();
			});
		});
	}

	/** Whether an activity event may be sent; those left out are counted and told later. */
	#roomForEvent(): boolean {
		if (this.#backlog > MAX_BACKLOG) {
			this.#leftOut += 1;
			return false;
		}
		if (this.#leftOut > 0) {
			const count = this.#leftOut;
			this.#leftOut = 0;
			this.send({ t: "event", type: "left_out", data: { count } });
		}
		return true;
	}

	#dial(): void {
		if (this.#closed) return;
		try {
			const wire = dial(this.#settings.address, {
				opened: () => this.#opened(),
				message: (text) => this.#receive(text),
				closed: (unreachable) => this.#lost(unreachable),
			});
			this.#wire = wire;
		} catch (error) {
			this.#end(error instanceof Error ? error.message : String(error));
		}
	}

	#opened(): void {
		// Who accepts is alive, even where it does not answer: a blocked loop, a stopped process.
		this.#lostAt = undefined;
		const { agent, token } = this.#settings;
		const hello = { t: "hello", v: VERSION, agent, token, session: this.#session, got: this.#got };
		this.#wire?.send(JSON.stringify(hello));
		this.#heardAt = performance.now();
		if (this.#wire?.remote) {
			clearInterval(this.#pulse);
			this.#pulse = setInterval(() => this.#checkPulse(), ASK_AFTER);
			this.#pulse.unref();
		}
	}

	#checkPulse(): void {
		const silence = performance.now() - this.#heardAt;
		if (silence > SILENT_AFTER) this.#wire?.close();
		else if (silence > ASK_AFTER / 2 && this.#welcomed) this.#wire?.send('{"t":"ping"}');
	}

	#lost(unreachable: boolean): void {
		clearInterval(this.#pulse);
		const had = this.#welcomed;
		this.#welcomed = false;
		this.#wire = undefined;
		if (this.#closed) return;
		const now = performance.now();
		if (!unreachable && !had) this.#lostAt = undefined;
		else this.#lostAt ??= now;
		if (unreachable && this.#lostAt !== undefined && now - this.#lostAt >= this.#lease * 1000) {
			this.#end(`the run has been out of reach for ${this.#lease} s`);
			return;
		}
		const cap = this.#settings.address.startsWith("unix:")
			? LONGEST_DELAY.unix
			: LONGEST_DELAY.remote;
		const delay = Math.min(cap, FIRST_DELAY * 2 ** Math.min(this.#attempts, 16));
		this.#attempts += 1;
		this.#redial = setTimeout(() => this.#dial(), delay * (0.5 + Math.random() / 2));
		this.#redial.unref();
	}

	#end(reason: string): void {
		if (this.#closed) return;
		this.close();
		this.#events.end(reason);
	}

	#receive(text: string): void {
		this.#heardAt = performance.now();
		let message: FromRun | Unnumbered;
		try {
			message = JSON.parse(text) as FromRun | Unnumbered;
		} catch {
			this.#wire?.close();
			return;
		}
		switch (message.t) {
			case "welcome":
				return this.#welcome(message);
			case "refused":
				return this.#refused(message);
			case "ack":
				return this.#acknowledged(message.n ?? 0);
			case "ping":
				return this.#wire?.send('{"t":"pong"}');
			case "pong":
				return;
			default:
				return this.#numbered(message);
		}
	}

	#welcome(message: Extract<Unnumbered, { t: "welcome" }>): void {
		this.#welcomed = true;
		this.#attempts = 0;
		this.#lease = message.lease ?? this.#lease;
		this.#limit = message.max_message || Number.POSITIVE_INFINITY;
		this.#acknowledged(message.got ?? 0);
		for (const kept of this.#outbox) this.#wire?.send(kept.text);
	}

	#refused(message: Extract<Unnumbered, { t: "refused" }>): void {
		if (message.retry) this.#wire?.close();
		else this.#end(`the run refused this agent: ${message.reason}`);
	}

	#acknowledged(n: number): void {
		let gone = 0;
		for (const kept of this.#outbox) {
			if (kept.n > n) break;
			this.#backlog -= kept.bytes;
			gone += 1;
		}
		if (gone === 0) return;
		this.#outbox.splice(0, gone);
		if (this.#outbox.length > 0) return;
		for (const done of this.#emptied.splice(0)) done();
	}

	#numbered(message: FromRun): void {
		if (typeof message.n !== "number" || message.n > this.#got + 1) {
			// Something is missing before it: begin again where we know where we are.
			this.#wire?.close();
			return;
		}
		this.#acknowledge();
		if (message.n <= this.#got) return;
		this.#got = message.n;
		try {
			this.#events.message(message);
		} catch (error) {
			// The message is taken: receiving it again would fail again.
			this.#events.notice(`ramure: ${message.t}: ${String(error)}`);
		}
	}

	/** One acknowledgement for all that arrives together. */
	#acknowledge(): void {
		if (this.#ackDue) return;
		this.#ackDue = true;
		setImmediate(() => {
			this.#ackDue = false;
			if (this.#welcomed) this.#wire?.send(JSON.stringify({ t: "ack", n: this.#got }));
		});
	}
}
