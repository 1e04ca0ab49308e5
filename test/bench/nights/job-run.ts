/** Runs one command to its end and says what it cost: wall time, CPU and memory of its processes, requests. */
import { type ChildProcess, fork, spawn } from "node:child_process";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { cpuSeconds, memory } from "../process-figures.ts";
import type { Answer, Ask, Plant } from "./planted-server.ts";

const SERVER = fileURLToPath(new URL("./planted-server.ts", import.meta.url));
const SAMPLE_MS = 200;

/** What a command cost. */
export interface JobFigures {
  readonly seconds: number;
  readonly cpuSeconds: number;
  readonly peakRssMiB: number;
  readonly code: number;
  readonly requests: Answer;
  readonly output: string;
}

/** The S3 server of a run. */
export class PlantedServer {
  readonly address: Answer;
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess, address: Answer) {
    this.#child = child;
    this.address = address;
  }

  static async start(): Promise<PlantedServer> {
    const child = fork(SERVER, [], { execArgv: ["--max-old-space-size=8192", "--import", "tsx"] });
    const [address] = (await once(child, "message")) as [Answer];
    return new PlantedServer(child, address);
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** Makes objects, without requests. */
  async plant(plant: Plant): Promise<void> {
    await this.ask({ plant });
  }

  async ask(ask: Ask): Promise<Answer> {
    const answered = once(this.#child, "message");
    this.#child.send(ask);
    const [answer] = (await answered) as [Answer];
    return answer;
  }

  async stop(): Promise<void> {
    const ended = once(this.#child, "exit");
    this.#child.disconnect();
    await ended;
  }
}

/** A command line and its surroundings. */
export interface Job {
  readonly program: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** Processes that work for it, such as a mount: their CPU and memory count. */
  readonly with?: readonly number[];
}

/** Runs the job; its children's CPU is found in this process' own account, so that nothing is missed at its end. */
export async function runJob(server: PlantedServer, job: Job): Promise<JobFigures> {
  const helpers = job.with ?? [];
  await server.ask({ reset: true });
  const spent = (): number =>
    cpuSeconds([process.pid]) - cpuSeconds([server.pid]) - process.cpuUsage().user / 1e6 - process.cpuUsage().system / 1e6;
  const before = spent();
  const began = performance.now();
  const child = spawn(job.program, job.args, {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, ...job.env },
    ...(job.cwd !== undefined && { cwd: job.cwd }),
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text: string) => {
      output = (output + text).slice(-4000);
    });
  }
  let peakRssMiB = 0;
  const ended = new AbortController();
  const sampling = (async () => {
    while (!ended.signal.aborted) {
      peakRssMiB = Math.max(peakRssMiB, memory([child.pid ?? 0, ...helpers]).rssMiB);
      await sleep(SAMPLE_MS, undefined, { signal: ended.signal }).catch(() => undefined); // aborted: the job has ended
    }
  })();
  const [code] = (await once(child, "close")) as [number | null];
  const seconds = (performance.now() - began) / 1000;
  ended.abort();
  await sampling;
  return {
    seconds,
    cpuSeconds: spent() - before,
    peakRssMiB,
    code: code ?? 128,
    requests: await server.ask({ counts: true }),
    output,
  };
}
