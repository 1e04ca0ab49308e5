/**
 * What is known of how a client writes its files. OpenSSH's sftp and scp, PuTTY's and those made from them, and rclone send
 * a file from its beginning to its end and never go back; mounts and libraries may write anywhere. OpenSSH's ssh also
 * carries sshfs, which says the same about itself: only sftp and scp begin by asking for limits.
 */

const OPENSSH = /^OpenSSH_/;
const IN_ORDER = /^(?:PuTTY|WinSCP|FileZilla|rclone)/;

/** One channel's client: see the head of this file. */
export class ClientHabits {
  readonly #software: string;
  #hasAskedForLimits = false;

  /** `ident` is the client's identification (RFC 4253 §4.2), with or without `SSH-2.0-`; undefined: not known. */
  constructor(ident: string | undefined) {
    this.#software = ident?.replace(/^SSH-\d\.\d+-/, "") ?? "";
  }

  /** The client has sent `limits@openssh.com`. */
  askedForLimits(): void {
    this.#hasAskedForLimits = true;
  }

  /** True if it is known to write every file in order. */
  get writesInOrder(): boolean {
    return IN_ORDER.test(this.#software) || (this.#hasAskedForLimits && OPENSSH.test(this.#software));
  }
}
