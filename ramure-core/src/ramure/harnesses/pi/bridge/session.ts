/**
 * What the parts of the bridge share: pi's session as it is now, and the link.
 *
 * `/reload`, `/new`, `/resume` and `/fork` end the extension's instance, and its `pi` and `ctx` with
 * it. The bridge lives on and is given new ones; between the two there is no session.
 */

import type { ExtensionAPI, ExtensionContext } from "@earendil-works/pi-coding-agent";
import type { FromAgent } from "./protocol.ts";

export interface Session {
	pi: ExtensionAPI;
	ctx: ExtensionContext;
}

export interface Shared {
	session: Session | undefined;
	send(message: FromAgent): boolean;
}
