/** The trees that the matrix of rsync's options sends and finds (rsync-matrix.test.ts). */
import { randomBytes } from "node:crypto";
import { TIME, type Tree } from "./rsync-trees.ts";

/** Large enough to be sent by what differs, and in several parts. */
const big = randomBytes(400_000);
const edited = Buffer.concat([big.subarray(0, 300_000), Buffer.from("edited here"), big.subarray(300_500)]);

/** What is sent. */
export const SOURCE: Tree = {
  "same.txt": { content: "the same" },
  "changed.txt": { content: "longer than before", mtime: TIME + 50 },
  "touched.txt": { content: "touched", mtime: TIME + 60 },
  "samesize.txt": { content: "aaaa" },
  "older.txt": { content: "old", mtime: TIME - 1000 },
  "new.txt": { content: "new", mtime: TIME + 7 },
  "empty.txt": { content: "" },
  "dir/inner.txt": { content: "inner", mtime: TIME + 1 },
  "dir/same2.txt": { content: "same too" },
  "dir/sub/deep.txt": { content: "deep" },
  "emptydir/": {},
  "sp ace/in ner/inmost.txt": { content: "inmost" },
  "sp ace/q'u\"o$t.txt": { content: "quoted" },
  "ümläut/größe.txt": { content: "unicode" },
  "big.bin": { content: edited, mtime: TIME + 3 },
  "growing.bin": { content: Buffer.concat([big, big.subarray(0, 1000)]), mtime: TIME + 3 },
  "x.log": { content: "log of the source" },
  ".hidden": { content: "hidden" },
  ".rsync-filter": { content: "# comment\n- *.log\n+ keep.me\nexclude /older.txt\nP extradir/\n" },
  "dir/.rsync-filter": { content: "- /inner.txt\n" },
  "dir/.cvsignore": { content: "sub *.bin" },
  ".nest": { content: "clear\n: .deeper\n- *.log\n. .more\n" },
  ".more": { content: "- big.bin\n" },
  "dir/.deeper": { content: "- /inner.txt\n+ deep.txt\n" },
  "dir/sub/.deeper": { content: "- *\n" },
  "script.sh": { content: "#!/bin/sh", mode: 0o755 },
  "tool.sh": { content: "#!/bin/sh #2", mode: 0o770 },
  "no-tool.sh": { content: "no longer runs", mode: 0o640 },
  "now-runs.sh": { content: "runs", mode: 0o700, mtime: TIME + 9 },
};

/** What is there before. */
export const TARGET: Tree = {
  "same.txt": { content: "the same" },
  "changed.txt": { content: "short" },
  "touched.txt": { content: "touched" },
  "samesize.txt": { content: "bbbb" },
  "older.txt": { content: "this one is newer", mtime: TIME + 1000 },
  "dir/same2.txt": { content: "same too" },
  "dir/extra3.txt": { content: "extra" },
  "extra.txt": { content: "extra" },
  ".rsync-filter": { content: "- *.log\n- e3.txt\n" },
  "dir/.rsync-filter": { content: "- extra3.txt\n" },
  ".nest": { content: "exclude nothing\ndir-merge .deeper\n- no_tool.sh\nmerge .more\n" },
  ".more": { content: "- extra.txt\n" },
  "dir/.deeper": { content: "- extra3.txt\n" },
  "extradir/.deeper": { content: "- e1.txt\ndir-merge .nest\n" },
  "extradir/e1.txt": { content: "e1" },
  "extradir/e2.log": { content: "e2" },
  "extradir/below/e3.txt": { content: "e3" },
  "big.bin": { content: big },
  "growing.bin": { content: big },
  "x.log": { content: "log of the target" },
  "script.sh": { content: "#!/bin/sh", mode: 0o755 },
  "no-tool.sh": { content: "no longer runs", mode: 0o755 },
  "now-runs.sh": { content: "run", mode: 0o640 },
};

/** Files where the source has directories. */
export const FILES_FOR_DIRECTORIES: Tree = {
  "sp ace": { content: "a file" },
  emptydir: { content: "a file" },
  "dir/sub": { content: "a file" },
};

/** Directories where the source has files. */
export const DIRECTORIES_FOR_FILES: Tree = {
  "new.txt/x": { content: "x" },
  "new.txt/y/z": { content: "z" },
  "empty.txt/a.keep": { content: "kept" },
  "empty.txt/b": { content: "b" },
  ".hidden/in/c.keep": { content: "kept" },
  ".hidden/in/d": { content: "d" },
  "x.log2/": {},
};

/** A third tree on the server, beside the target. */
export const OTHER: Tree = {
  "new.txt": { content: "new", mtime: TIME + 7 },
  "dir/inner.txt": { content: "inner", mtime: TIME + 99 },
  "dir/sub/deep.txt": { content: "other content" },
  "same.txt": { content: "the same" },
  "changed.txt": { content: "longer than before", mtime: TIME + 50 },
  "touched.txt": { content: "touched", mtime: TIME + 60 },
  "older.txt": { content: "old", mtime: TIME - 1000 },
  "tool.sh": { content: "#!/bin/sh #2", mode: 0o700 },
  "no-tool.sh": { content: "no longer runs", mode: 0o640 },
  "big.bin": { content: edited, mtime: TIME + 3 },
  "names.lst": { content: "# a comment\n\nnew.txt\r\n./dir/sub\n\n\ndir/inner.txt\nno-such-file" },
};
