/** What is told to the run is bounded: a log is no copy of every file that an agent read. */

/** Characters of one text, and of the JSON of one payload. */
export const MAX_TEXT = 16_384;

/** The text, or its beginning and its end with a note of what is missing between them. */
export function cut(text: string, limit: number = MAX_TEXT): string {
	if (text.length <= limit) return text;
	const half = Math.floor(limit / 2);
	const missing = text.length - 2 * half;
	return `${text.slice(0, half)}\n[… ${missing} characters left out …]\n${text.slice(-half)}`;
}

/** The value, or where its JSON is too long (or there is none) the beginning of its text. */
export function bounded(value: unknown): unknown {
	let json: string | undefined;
	try {
		json = JSON.stringify(value);
	} catch {
		json = undefined;
	}
	if (json === undefined) return value === undefined ? null : cut(String(value));
	return json.length <= MAX_TEXT ? value : { left_out: true, json: cut(json) };
}

/** The text in a message's content: pi uses a string, or a list of parts. */
export function textOf(content: unknown): string {
	if (typeof content === "string") return content;
	if (!Array.isArray(content)) return "";
	return content
		.map((part: { type?: unknown; text?: unknown }) =>
			part?.type === "text" && typeof part.text === "string" ? part.text : "",
		)
		.join("");
}
