/** Another process of the node, for slow-writes.test.ts: changes a key until it is told that it is done. */
import { SlowWrites } from "../../../src/state/slow-writes.ts";
import { StateDirectory } from "../../../src/state/state-directory.ts";

const [, , directory = "", key = ""] = process.argv;
const state = await StateDirectory.open(directory);
const fail = (error: unknown): never => {
  throw error;
};
const done = new SlowWrites(state, "volume", fail).tell([key]);
process.on("message", () => done());
await state.flushed();
process.send?.("told");
