/**
 * What pi does, told to the run: busy or idle, turns, tools, texts, usage and failures.
 *
 * pi tells of a failed model call only as a message that ends with an error, and then tries again
 * by itself or does not. From 0.80.4 on `agent_settled` says that it will not; before that the rule
 * of pi 0.74 is repeated here.
 */

import type { ExtensionContext } from "@earendil-works/pi-coding-agent";
import type { Shared } from "./session.ts";
import { bounded, cut, textOf } from "./text.ts";

/** pi 0.74: which errors are tried again, how often, and after how long at first. */
const RETRIED =
	/overloaded|provider.?returned.?error|rate.?limit|too many requests|429|500|502|503|504|service.?unavailable|server.?error|internal.?error|network.?error|connection.?error|connection.?refused|connection.?lost|websocket.?closed|websocket.?error|other side closed|fetch failed|upstream.?connect|reset before headers|socket hang up|ended without|stream ended|http2 request|timed? out|timeout|terminated|retry delay/i;
const RETRIES = 3;
const FIRST_RETRY = 2_000;
/** Milliseconds on top, for whatever else happens before a retry. */
const GRACE = 5_000;
/** Milliseconds after `agent_end` in which a compaction or a queued message makes it go on. */
const SETTLING = 300;
/** Milliseconds that a compaction may take before nobody waits for its end any more. */
const COMPACTING = 300_000;
const ABORTED = /^(this|the|request)?\s*(operation|request)?\s*was aborted\.?$/i;

interface AssistantMessage {
	role: string;
	content: unknown;
	provider?: string;
	model?: string;
	stopReason?: string;
	errorMessage?: string | undefined;
	usage?: {
		input: number;
		output: number;
		cacheRead: number;
		cacheWrite: number;
		cost: { total: number };
	};
}

export class Activity {
	readonly #shared: Shared;
	readonly #settles: boolean;
	readonly #settled: () => void;
	#busy = false;
	#told: "busy" | "idle" | undefined;
	#error: string | undefined;
	#toldOfError = false;
	#attempts = 0;
	#compacting = false;
	#timer: NodeJS.Timeout | undefined;

	/**
	 * @param settles whether this pi has `agent_settled`.
	 * @param settled called when pi has settled; what it hands over makes pi go on.
	 */
	constructor(shared: Shared, settles: boolean, settled: () => void) {
		this.#shared = shared;
		this.#settles = settles;
		this.#settled = settled;
	}

	/** Whether pi works, or will go on by itself. */
	get busy(): boolean {
		return this.#busy || this.#compacting;
	}

	event(type: string, data?: Record<string, unknown>): void {
		this.#shared.send({ t: "event", type, ...(data ? { data } : {}) });
	}

	tell(state: "busy" | "idle"): void {
		if (this.#told === state) return;
		this.#told = state;
		this.#shared.send({ t: "state", state });
	}

	/** Another session has taken the place of the one before. */
	reset(): void {
		clearTimeout(this.#timer);
		this.#busy = false;
		this.#compacting = false;
		this.#error = undefined;
		this.#attempts = 0;
	}

	started(): void {
		clearTimeout(this.#timer);
		// It goes on without having settled: it tries again.
		if (this.#busy && this.#error !== undefined && !this.#toldOfError) this.#failed(false);
		this.#busy = true;
		this.#compacting = false;
		this.tell("busy");
	}

	ended(): void {
		if (this.#settles) {
			// Where pi does not settle now, it is waiting to try again.
			if (this.#error !== undefined) this.#later(SETTLING, () => this.#failed(false));
			return;
		}
		const error = this.#error;
		if (error !== undefined && RETRIED.test(error) && this.#attempts < RETRIES) {
			this.#failed(false);
			this.#later(FIRST_RETRY * 2 ** this.#attempts + GRACE, () => this.settled());
			this.#attempts += 1;
		} else {
			this.#later(SETTLING, () => this.settled());
		}
	}

	settled(): void {
		clearTimeout(this.#timer);
		this.#busy = false;
		this.#attempts = 0;
		if (this.#error !== undefined) this.#failed(true);
		this.#error = undefined;
		this.#settled();
	}

	compacting(): void {
		this.#compacting = true;
		this.event("compaction_start");
		this.#later(COMPACTING, () => this.#compactionOver());
	}

	compacted(error?: string): void {
		this.event("compaction_end", error ? { error: cut(error) } : undefined);
		// On pi 0.74 a continuation comes 0.1 s after it.
		this.#later(2 * SETTLING, () => this.#compactionOver());
	}

	#compactionOver(): void {
		this.#compacting = false;
		if (!this.#settles) this.settled();
		else if (!this.#busy) this.#settled();
	}

	message(message: AssistantMessage, ctx: ExtensionContext): void {
		if (message.role !== "assistant") return;
		const text = textOf(message.content);
		if (text) this.event("text", { text: cut(text) });
		this.#used(message);
		const { stopReason, errorMessage } = message;
		const aborted =
			stopReason === "aborted" ||
			(stopReason === "error" &&
				(ctx.signal?.aborted === true || ABORTED.test(errorMessage?.trim() ?? "")));
		if (aborted) this.event("aborted");
		this.#error =
			stopReason === "error" && !aborted ? errorMessage || "the model failed" : undefined;
		this.#toldOfError = false;
		if (this.#error === undefined) this.#attempts = 0;
	}

	toolStarted(id: string, name: string, args: unknown): void {
		this.event("tool_start", { id, name, arguments: bounded(args) });
	}

	toolEnded(id: string, name: string, isError: boolean, result: unknown): void {
		const content = (result as { content?: unknown } | undefined)?.content;
		this.event("tool_end", { id, name, is_error: isError, result: cut(textOf(content)) });
	}

	#used(message: AssistantMessage): void {
		const used = message.usage;
		if (!used) return;
		this.#shared.send({
			t: "usage",
			model: `${message.provider}/${message.model}`,
			input: used.input || 0,
			output: used.output || 0,
			cache_read: used.cacheRead || 0,
			cache_write: used.cacheWrite || 0,
			cost: used.cost?.total || 0,
		});
	}

	#failed(final: boolean): void {
		this.#toldOfError = true;
		this.#shared.send({ t: "failure", message: cut(this.#error ?? ""), final });
	}

	#later(milliseconds: number, action: () => void): void {
		clearTimeout(this.#timer);
		this.#timer = setTimeout(action, milliseconds);
		this.#timer.unref();
	}
}
