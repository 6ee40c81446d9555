/** The bridge between pi and the run: one for pi's whole life, bound to each session in turn. */

import type { ExtensionAPI, ExtensionContext } from "@earendil-works/pi-coding-agent";
import { Activity } from "./activity.ts";
import { Inbox } from "./inbox.ts";
import { Link, type LinkSettings } from "./link.ts";
import { modelName, modelProblem } from "./model.ts";
import type { FromAgent, FromRun } from "./protocol.ts";
import type { Session } from "./session.ts";
import { cut, textOf } from "./text.ts";
import { Tools } from "./tools.ts";

export interface Settings extends LinkSettings {
	/** pi's version. */
	version: string;
	/** What `--model` said; "" where it was not given. */
	model: string;
}

type Handler = (event: never, ctx: ExtensionContext) => unknown;

/** Milliseconds in which the run may acknowledge the last messages. */
const FAREWELL = 500;
/**
 * Milliseconds that pi needs, after it told of a replaced session, to put its screen in order: a
 * turn that begins earlier leaves a person without an editor.
 */
const REPLACING = 1_000;
/** Milliseconds that pi may take to replace a session, once it said that it might. */
const SWITCHING = 3_000;
/** Milliseconds after which pi is ended less and less politely. */
const PATIENCE = { shutdown: 1_500, exit: 3_000 };

export class Bridge {
	session: Session | undefined;
	readonly #settings: Settings;
	readonly #link: Link;
	readonly #tools: Tools;
	readonly #inbox: Inbox;
	readonly #activity: Activity;
	#introduced = false;
	#held: NodeJS.Timeout | undefined;
	#problem = "";
	#ending = "";

	constructor(settings: Settings) {
		this.#settings = settings;
		this.#link = new Link(settings, {
			message: (message) => this.#receive(message),
			end: (reason) => this.#end(reason),
			notice: (text) => this.#notify(text),
		});
		this.#tools = new Tools(this);
		this.#inbox = new Inbox(this, () => this.#idle());
		this.#activity = new Activity(this, atLeast(settings.version, [0, 80, 4]), () => {
			// pi before 0.87 must not be given anything while it still tells of its settling.
			setImmediate(() => this.#settled());
		});
	}

	send(message: FromAgent): boolean {
		return this.#link.send(message);
	}

	/** Serve this instance of the extension from now on. */
	bind(pi: ExtensionAPI): void {
		this.#tools.register(pi);
		// pi's overloads differ between its versions; the names are those of both.
		const on = pi.on as unknown as (name: string, handler: Handler) => void;
		const activity = this.#activity;

		on("session_start", (_event, ctx) => this.#begin({ pi, ctx }));
		on("session_before_switch", () => this.#hold(SWITCHING));
		on("session_before_fork", () => this.#hold(SWITCHING));
		on("session_shutdown", (event: { reason?: string }) => this.#shutdown(event.reason ?? "quit"));

		on("input", (event: { text: string; source: string }) =>
			this.#inbox.input(event.text, event.source === "extension"),
		);
		on("agent_start", () => activity.started());
		on("agent_end", () => activity.ended());
		on("agent_settled", () => activity.settled());
		on("turn_start", (event: { turnIndex: number }) =>
			activity.event("turn_start", { turn: event.turnIndex }),
		);
		on("turn_end", (event: { turnIndex: number }) =>
			activity.event("turn_end", { turn: event.turnIndex }),
		);
		on("message_start", ({ message }: { message: { role: string; content?: unknown } }) => {
			if (message.role !== "user") return;
			const text = textOf(message.content);
			this.#inbox.shows(text);
			activity.event("user", { text: cut(text) });
		});
		on("message_end", (event: { message: Parameters<Activity["message"]>[0] }, ctx) =>
			activity.message(event.message, ctx),
		);
		on("tool_execution_start", (event: { toolCallId: string; toolName: string; args: unknown }) =>
			activity.toolStarted(event.toolCallId, event.toolName, event.args),
		);
		on(
			"tool_execution_end",
			(event: { toolCallId: string; toolName: string; isError: boolean; result: unknown }) =>
				activity.toolEnded(event.toolCallId, event.toolName, event.isError, event.result),
		);
		on("tool_result", () => this.#inbox.between());
		on("session_before_compact", () => activity.compacting());
		on("session_compact", () => activity.compacted());
		on("session_compact_failed", (event: { errorMessage?: string }) =>
			activity.compacted(event.errorMessage || "it was cancelled"),
		);
		on("model_select", (_event, ctx) => this.#modelChanged(ctx));
	}

	async #begin(session: Session): Promise<void> {
		this.session = session;
		this.#activity.reset();
		this.#tools.offer(session.pi);
		this.#inbox.giveBack();
		this.#problem = await modelProblem(session.ctx, this.#settings.model);
		if (!this.#introduced) {
			this.#introduced = true;
			this.#introduce(session.ctx);
			this.#link.open();
		} else {
			this.#activity.event("session", {});
			this.#hold(REPLACING);
		}
	}

	#introduce(ctx: ExtensionContext): void {
		this.send({
			t: "ready",
			harness: "pi",
			version: this.#settings.version,
			pid: process.pid,
			model: modelName(ctx),
			problem: this.#problem,
			// pi keeps no conversation before the model's first answer.
			remembers: ctx.sessionManager.getEntries().some((entry) => entry.type === "message"),
		});
	}

	/** Give pi nothing for so long: its session is being replaced. */
	#hold(milliseconds: number): void {
		clearTimeout(this.#held);
		this.#held = setTimeout(() => {
			this.#held = undefined;
			this.#settled();
		}, milliseconds);
		this.#held.unref();
	}

	async #shutdown(reason: string): Promise<void> {
		// pi 0.74 leaves a session that is replaced at work: what it still calls is nobody's.
		if (reason !== "quit" && reason !== "reload") this.session?.ctx.abort();
		this.session = undefined;
		if (reason !== "quit") return;
		this.send({ t: "bye", reason: this.#ending || "pi was quit" });
		await this.#link.flush(FAREWELL);
		this.#link.close();
	}

	async #modelChanged(ctx: ExtensionContext): Promise<void> {
		this.#activity.event("model", { model: modelName(ctx) });
		// A person chose it at the terminal: what the program asked for no longer counts.
		this.#problem = await modelProblem(ctx, "");
		this.#inbox.pump();
	}

	#idle(): boolean {
		if (!this.session || this.#held || this.#problem || this.#activity.busy) return false;
		return this.session.ctx.isIdle();
	}

	#settled(): void {
		if (!this.session || this.#held || this.#activity.busy) return;
		this.#inbox.giveBack();
		this.#inbox.pump();
		if (this.#inbox.empty) this.#activity.tell("idle");
	}

	#receive(message: FromRun): void {
		switch (message.t) {
			case "tools":
				return this.#tools.replace(message.tools);
			case "message":
				return this.#deliver(message);
			case "result":
				return this.#tools.answer(message);
			case "interrupt":
				return this.session?.ctx.abort();
			case "stop":
				return this.#end(message.reason || "the run is over");
			default:
				// A newer run may know more messages than this bridge.
				return;
		}
	}

	#deliver(message: { id: string; text: string }): void {
		this.#inbox.accept({ id: message.id, text: message.text });
		if (this.#problem) this.send({ t: "failure", message: this.#problem, final: true });
	}

	/** End pi: by its own way out, then by a signal, then at once. */
	#end(reason: string): void {
		if (this.#ending) return;
		this.#ending = reason;
		this.#notify(`ramure: ${reason}; pi ends now`);
		setTimeout(() => process.kill(process.pid, "SIGTERM"), PATIENCE.shutdown).unref();
		setTimeout(() => process.exit(0), PATIENCE.exit).unref();
		this.session?.ctx.abort();
		this.session?.ctx.shutdown();
	}

	#notify(text: string): void {
		this.session?.ctx.ui.notify(text, "warning");
	}
}

function atLeast(version: string, wanted: number[]): boolean {
	const parts = version.split(/[.+-]/).map(Number);
	for (const [index, number] of wanted.entries()) {
		const part = parts[index] || 0;
		if (part !== number) return part > number;
	}
	return true;
}
