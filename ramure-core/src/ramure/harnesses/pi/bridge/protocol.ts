/**
 * The messages of the agent protocol, as `ramure.run.protocol` defines them.
 *
 * A field that holds its default (0, "", false) may be missing from what the run sends.
 */

export const VERSION = 1;

export interface ToolDef {
	name: string;
	description: string;
	/** JSON Schema of an object. */
	parameters: Record<string, unknown>;
}

/** What the run sends, beside the unnumbered messages of a connection. */
export type FromRun =
	| { t: "tools"; n: number; tools: ToolDef[] }
	| { t: "message"; n: number; id: string; text: string }
	| { t: "result"; n: number; call: string; ok: boolean; text: string; end?: boolean }
	| { t: "interrupt"; n: number }
	| { t: "stop"; n: number; reason?: string };

/** The messages of a connection itself: they carry no number and are never repeated. */
export type Unnumbered =
	| { t: "welcome"; v: number; run: string; got?: number; lease?: number; max_message?: number }
	| { t: "refused"; code: string; reason: string; retry?: boolean }
	| { t: "ack"; n?: number }
	| { t: "ping" }
	| { t: "pong" };

/** What the bridge sends; the link adds the number. */
export type FromAgent =
	| {
			t: "ready";
			harness: string;
			version: string;
			pid: number;
			model: string;
			problem: string;
			remembers: boolean;
	  }
	| { t: "call"; call: string; tool: string; arguments: unknown }
	| { t: "cancel"; call: string }
	| { t: "queued"; id: string }
	| { t: "taken"; id: string }
	| { t: "state"; state: "busy" | "idle" }
	| { t: "event"; type: string; data?: unknown }
	| {
			t: "usage";
			model: string;
			input: number;
			output: number;
			cache_read: number;
			cache_write: number;
			cost: number;
	  }
	| { t: "failure"; message: string; final: boolean }
	| { t: "bye"; reason: string };
