import type { Run } from "./run.ts";
export async function serveDownload(run: Run): Promise<void> {
  run.info("not yet");
}
