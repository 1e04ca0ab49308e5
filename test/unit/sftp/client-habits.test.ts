import { describe, expect, it } from "vitest";
import { ClientHabits } from "../../../src/sftp/client-habits.ts";

describe("a client's habits", () => {
  it.each(["SSH-2.0-PuTTY_Release_0.78", "SSH-2.0-WinSCP_release_6.3", "SSH-2.0-FileZilla_3.66", "SSH-2.0-rclone/v1.60.1-DEV"])(
    "%s writes in order",
    (ident) => {
      expect(new ClientHabits(ident).writesInOrder).toBe(true);
    },
  );

  it.each([undefined, "SSH-2.0-libssh2_1.10.0", "SSH-2.0-paramiko_2.12.0", "SSH-2.0-AsyncSSH_2.14", "SSH-2.0-ssh2js1.17.0"])(
    "of %s nothing is known",
    (ident) => {
      const habits = new ClientHabits(ident);
      habits.askedForLimits();
      expect(habits.writesInOrder).toBe(false);
    },
  );

  it("tells OpenSSH's sftp and scp from sshfs by the question for limits", () => {
    const habits = new ClientHabits("SSH-2.0-OpenSSH_9.2p1 Debian-2");
    expect(habits.writesInOrder).toBe(false);
    habits.askedForLimits();
    expect(habits.writesInOrder).toBe(true);
  });
});
