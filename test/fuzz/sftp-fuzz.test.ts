import { expect, it } from "vitest";
import { fuzzSftp } from "./sftp-fuzz.ts";

it("8,000 random SFTP packets lead to no finding", async () => {
  const { packets, replies, findings } = await fuzzSftp(8_000, 1);
  expect(findings).toEqual([]);
  expect(packets).toBeGreaterThanOrEqual(8_000);
  // The fuzzer gets somewhere: every status that can be met, and every kind of reply.
  for (const reply of ["status 0", "status 1", "status 2", "status 3", "status 4", "status 5", "status 8"])
    expect(replies.get(reply)).toBeGreaterThan(0);
  for (const type of [102, 103, 104, 105, 201]) expect(replies.get(`type ${type}`)).toBeGreaterThan(0);
});
