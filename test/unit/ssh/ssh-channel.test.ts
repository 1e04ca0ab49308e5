/** The byte channel alone, over a link that records: order, windows, waiting, ends. */
import { beforeEach, describe, expect, it } from "vitest";
import { WireReader } from "../../../src/auth/wire-reader.ts";
import { ByteBudget } from "../../../src/byte-budget.ts";
import { Message } from "../../../src/ssh/messages.ts";
import { type ChannelLink, SshChannel } from "../../../src/ssh/ssh-channel.ts";

class RecordingLink implements ChannelLink {
  congested = false;
  unsentBytes = 0;
  readonly sent: Buffer[] = [];
  readonly violations: string[] = [];
  send(payloadBytes: number, fill: (packet: Buffer, start: number) => void): void {
    const packet = Buffer.alloc(payloadBytes + 5);
    fill(packet, 5);
    this.sent.push(packet.subarray(5));
  }
  sendMessage(payload: Uint8Array): void {
    this.sent.push(Buffer.from(payload));
  }
  flushSoon(): void {
    // tests flush themselves
  }
  probe(): void {
    // no answers here
  }
  readonly failures: unknown[] = [];
  reportFailure(_channel: SshChannel, error: unknown): void {
    this.failures.push(error);
  }
  reportViolation(_channel: SshChannel, reason: string): void {
    this.violations.push(reason);
  }
  types(): number[] {
    return this.sent.map((message) => message[0] ?? -1);
  }
  data(): string[] {
    return this.sent.filter((message) => message[0] === Message.CHANNEL_DATA).map((message) => new WireReader(message, 5).text());
  }
}

let link: RecordingLink;
let budget: ByteBudget;
beforeEach(() => {
  link = new RecordingLink();
  budget = new ByteBudget(64 * 1024 * 1024);
});
const open = (window = 1 << 20, maxPacket = 32768): SshChannel => new SshChannel(link, { id: 3, window, maxPacket }, budget);
const bytes = (text: string): Buffer => Buffer.from(text);

describe("sending", () => {
  it("coalesces chunks into packets and keeps their order", () => {
    const channel = open();
    channel.write(bytes("one "), bytes("two "));
    channel.write(bytes("three"));
    channel.flush();
    expect(link.data()).toEqual(["one two three"]);
    expect(budget.used).toBe(0);
  });

  it("cuts at the client's largest packet and window, in the middle of chunks", () => {
    const channel = open(10, 4);
    channel.write(bytes("abcde"), bytes("fghijkl"));
    channel.flush();
    expect(link.data()).toEqual(["abcd", "efgh", "ij"]);
    expect(channel.pendingBytes).toBe(2);
    channel.windowAdjusted(1);
    channel.flush();
    channel.windowAdjusted(1);
    channel.flush();
    expect(link.data().join("")).toBe("abcdefghijkl");
  });

  it("keeps output and errors apart and in order", () => {
    const channel = open();
    channel.write(bytes("a"));
    channel.writeError(bytes("oops"));
    channel.write(bytes("b"), bytes("c"));
    channel.flush();
    expect(link.types()).toEqual([Message.CHANNEL_DATA, Message.CHANNEL_EXTENDED_DATA, Message.CHANNEL_DATA]);
    const error = new WireReader(link.sent[1] ?? Buffer.alloc(0), 5);
    expect([error.uint32(), error.text()]).toEqual([1, "oops"]);
    expect(link.data()).toEqual(["a", "bc"]);
  });

  it("builds nothing while the connection is congested", () => {
    const channel = open();
    link.congested = true;
    channel.write(bytes("later"));
    channel.exit(0);
    channel.flush();
    expect(link.sent).toEqual([]);
    expect(budget.used).toBe(5);
    link.congested = false;
    channel.flush();
    expect(link.types()).toEqual([Message.CHANNEL_DATA, Message.CHANNEL_REQUEST, Message.CHANNEL_EOF, Message.CHANNEL_CLOSE]);
  });

  it("resolves drained when little enough is left, counting the socket", async () => {
    const channel = open(0);
    channel.write(Buffer.alloc(1000));
    link.unsentBytes = 500;
    let done = false;
    const drained = channel.drained(600).then(() => {
      done = true;
    });
    channel.windowAdjusted(1000);
    channel.flush();
    await drained;
    expect(done).toBe(true);
    await channel.drained(500);
  });

  it("sends 10,000 small chunks whole", () => {
    const channel = open(1 << 30);
    const all: Buffer[] = Array.from({ length: 10_000 }, (_, at) => bytes(`${at};`));
    channel.write(...all);
    channel.flush();
    expect(link.data().join("")).toBe(Buffer.concat(all).toString());
  });
});

describe("receiving", () => {
  it("delivers what came before the receiver, then the rest, then EOF once", () => {
    const channel = open();
    const got: string[] = [];
    channel.dataReceived(bytes("early"));
    channel.receive({ data: (chunk) => got.push(Buffer.from(chunk).toString()), end: () => got.push("EOF") });
    channel.dataReceived(bytes("late"));
    channel.eofReceived();
    channel.eofReceived();
    expect(got).toEqual(["early", "late", "EOF"]);
    expect(() => channel.dataReceived(bytes("x"))).toThrow("after EOF");
  });

  it("delivers an early EOF after early data", () => {
    const channel = open();
    const got: string[] = [];
    channel.dataReceived(bytes("early"));
    channel.eofReceived();
    channel.receive({ data: (chunk) => got.push(Buffer.from(chunk).toString()), end: () => got.push("EOF") });
    expect(got).toEqual(["early", "EOF"]);
  });

  it("charges the budget until consumed, and grants only then", () => {
    const channel = open();
    channel.receive({ data: () => undefined, end: () => undefined });
    channel.dataReceived(Buffer.alloc(500_000));
    expect(budget.used).toBe(500_000);
    expect(link.sent).toEqual([]);
    channel.consume(500_000);
    expect(budget.used).toBe(0);
    expect(link.types()).toEqual([Message.CHANNEL_WINDOW_ADJUST]);
  });

  it("counts extended data and throws it away", () => {
    const channel = open();
    channel.extendedDataReceived(channel.initialWindow);
    expect(budget.used).toBe(0);
    expect(link.types()).toEqual([Message.CHANNEL_WINDOW_ADJUST]);
  });
});

describe("ends", () => {
  it.each<[string, (channel: SshChannel) => void]>([
    [
      "exit",
      (channel) => {
        channel.exit(0);
        channel.flush();
      },
    ],
    ["destroy", (channel) => channel.destroy("broken")],
    ["the client's close", (channel) => channel.closeReceived()],
    ["a lost connection", (channel) => channel.connectionLost()],
    ["stalling", (channel) => channel.abandon("slow")],
  ])("%s aborts closed once, returns all memory and lets everybody go on", async (what, end) => {
    const channel = open(what === "exit" ? 1 << 20 : 0);
    channel.receive({ data: () => undefined, end: () => undefined });
    channel.dataReceived(Buffer.alloc(1000));
    channel.write(Buffer.alloc(2000));
    let aborted = 0;
    channel.closed.addEventListener("abort", () => aborted++);
    const drained = channel.drained(0);
    end(channel);
    end(channel);
    await drained;
    expect(aborted).toBe(1);
    expect(budget.used).toBe(0);
    channel.write(bytes("late"));
    channel.consume(1000);
    channel.dataReceived(bytes("late"));
    channel.flush();
    expect(budget.used).toBe(0);
    expect(link.types().filter((type) => type === Message.CHANNEL_CLOSE)).toHaveLength(what === "a lost connection" ? 0 : 1);
  });

  it("exit sends the status after all data, and swallows what still comes", () => {
    const channel = open(4);
    channel.receive({ data: () => expect.unreachable(), end: () => expect.unreachable() });
    channel.write(bytes("12345678"));
    channel.exit(3);
    channel.exit(4);
    channel.flush();
    channel.dataReceived(bytes("ignored"));
    channel.eofReceived();
    expect(budget.used).toBe(4);
    channel.windowAdjusted(4);
    channel.flush();
    const request = new WireReader(link.sent.find((message) => message[0] === Message.CHANNEL_REQUEST) ?? Buffer.alloc(0), 5);
    expect([request.text(), request.boolean(), request.uint32()]).toEqual(["exit-status", false, 3]);
    expect(link.data().join("")).toBe("12345678");
  });

  it("a receiver that throws ends its channel only", () => {
    const channel = open();
    channel.receive({
      data: () => {
        throw new TypeError("a bug");
      },
      end: () => undefined,
    });
    channel.dataReceived(bytes("x"));
    expect(link.failures).toHaveLength(1);
    expect(channel.closed.aborted).toBe(true);
    expect(budget.used).toBe(0);
  });

  it("destroy reports the reason", () => {
    open().destroy("bad length");
    expect(link.violations).toEqual(["bad length"]);
  });
});
