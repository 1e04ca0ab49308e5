/** Bits of the flags that begin every entry of a file list on the wire (rsync.h `XMIT_*`). Data only. */
export const Xmit = {
  topDirectory: 0x01,
  sameMode: 0x02,
  extended: 0x04,
  sameUid: 0x08,
  sameGid: 0x10,
  sameName: 0x20,
  longName: 0x40,
  sameTime: 0x80,
  /** Devices: same major number. Directories (protocol ≥ 30): the contents are not sent. */
  sameMajorOrNoContent: 0x100,
  hardLinked: 0x200,
  /** Protocol ≥ 30: a user name follows. Protocol 29 with -H: same device number as before. */
  userNameOrSameDevice: 0x400,
  /** Protocol ≥ 30: a group name follows. Protocol 29 devices: the minor number has one byte. */
  groupNameOrByteMinor: 0x800,
  /** First of a group of hard links; with `extended` alone: end of the list with an error word. */
  hardLinkFirst: 0x1000,
  nanoseconds: 0x2000,
} as const;
