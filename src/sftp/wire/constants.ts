/**
 * The numbers of SFTP version 3 (draft-ietf-secsh-filexfer-02) and the maxima this server sets. Knows nothing else.
 */

/** The protocol version answered to every client, whatever it offers. */
export const SFTP_VERSION = 3;

/** Packet types, draft-ietf-secsh-filexfer-02 §3. */
export const PacketType = {
  INIT: 1,
  VERSION: 2,
  OPEN: 3,
  CLOSE: 4,
  READ: 5,
  WRITE: 6,
  LSTAT: 7,
  FSTAT: 8,
  SETSTAT: 9,
  FSETSTAT: 10,
  OPENDIR: 11,
  READDIR: 12,
  REMOVE: 13,
  MKDIR: 14,
  RMDIR: 15,
  REALPATH: 16,
  STAT: 17,
  RENAME: 18,
  READLINK: 19,
  SYMLINK: 20,
  STATUS: 101,
  HANDLE: 102,
  DATA: 103,
  NAME: 104,
  ATTRS: 105,
  EXTENDED: 200,
  EXTENDED_REPLY: 201,
} as const;

/** Status codes, draft-ietf-secsh-filexfer-02 §7. */
export const StatusCode = {
  OK: 0,
  EOF: 1,
  NO_SUCH_FILE: 2,
  PERMISSION_DENIED: 3,
  FAILURE: 4,
  BAD_MESSAGE: 5,
  NO_CONNECTION: 6,
  CONNECTION_LOST: 7,
  OP_UNSUPPORTED: 8,
} as const;

/** One of the status codes. */
export type StatusCode = (typeof StatusCode)[keyof typeof StatusCode];

/** Bits of an OPEN's pflags, draft-ietf-secsh-filexfer-02 §6.3. */
export const OpenFlag = { READ: 0x01, WRITE: 0x02, APPEND: 0x04, CREAT: 0x08, TRUNC: 0x10, EXCL: 0x20 } as const;

/** Bits that say which attributes follow, draft-ietf-secsh-filexfer-02 §5. */
export const AttributeFlag = { SIZE: 0x01, UIDGID: 0x02, PERMISSIONS: 0x04, ACMODTIME: 0x08, EXTENDED: 0x80000000 } as const;

/** File type bits of the permissions field, as `stat(2)` has them. */
export const FileTypeBits = { file: 0o100000, directory: 0o040000, symlink: 0o120000 } as const;

/** Most bytes of one READ or WRITE as announced by `limits@openssh.com`; what OpenSSH's client uses at most. */
export const MAX_TRANSFER_BYTES = 255 * 1024;

/** Packet length announced by `limits@openssh.com`. */
export const ANNOUNCED_PACKET_BYTES = 256 * 1024;

/** Longest packet accepted, without its length field: a WRITE of 256 KiB (`sftp -B 262144`) and its header. */
export const MAX_PACKET_BYTES = 256 * 1024 + 1024;

/** Longest path accepted, in bytes; what it may contain beyond that is the file system's business. */
export const MAX_PATH_BYTES = 8192;

/** Longest handle accepted, in bytes, draft-ietf-secsh-filexfer-02 §6.3. */
export const MAX_HANDLE_BYTES = 256;

/** Longest name of an extension, of an algorithm list or of a user accepted, in bytes. */
export const MAX_NAME_BYTES = 1024;

/** Most ids of each kind that one `users-groups-by-id@openssh.com` may ask for. */
export const MAX_IDS = 1024;

/** Most names in one NAME reply, and about how many bytes it may have; OpenSSH's client refuses packets over 256 KiB. */
export const MAX_NAMES = 500;
export const MAX_NAME_REPLY_BYTES = 160 * 1024;
