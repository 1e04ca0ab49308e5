/**
 * The words of rsync's multiplexing: message tags and limits (rsync.h `enum msgcode`). Pure.
 */

/** Added to every tag in a frame header. */
export const MPLEX_BASE = 7;

/** Message tags. */
export const Tag = {
  data: 0,
  errorXfer: 1,
  info: 2,
  error: 3,
  warning: 4,
  ioError: 22,
  noop: 42,
  errorExit: 86,
  success: 100,
  deleted: 101,
  noSend: 102,
} as const;

/** Longest payload of a frame that is not data. */
export const MAX_MESSAGE = 64 * 1024;

/** Longest payload of a data frame we send. */
export const MAX_FRAME = 64 * 1024 - 4;
