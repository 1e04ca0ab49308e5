import { expect, it } from "vitest";
import { abortsNode } from "../../../src/ssh/native-binding.ts";

const hooked = Buffer.from("\u007fELF … _ZN4node28RemoveEnvironmentCleanupHookEPN2v87IsolateEPFvPvES3_ …", "latin1");
const plain = Buffer.from("\u007fELF … _ZN4node19GetCurrentEventLoopE …", "latin1");

it.each([
  [hooked, "24.18.0", true],
  [hooked, "24.21.0", true],
  [hooked, "20.20.2", true],
  [hooked, "25.9.0", true],
  [hooked, "26.3.1", true],
  [hooked, "26.4.0", false],
  [hooked, "27.0.0", false],
  [plain, "20.20.2", false],
  [plain, "24.21.0", false],
])("a compiled module that would abort Node is told from others (%#)", (program, version, aborts) => {
  expect(abortsNode(program, version)).toBe(aborts);
});
