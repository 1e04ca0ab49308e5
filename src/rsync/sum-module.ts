/**
 * The two sums of rsync whose speed decides about the cost of an upload that can be continued, as a WebAssembly module
 * put together here: MD5 (RFC 1321 §3.4) one block after the other with its state in memory, and the rolling sum
 * (rsync checksum.c `get_checksum1`). `node:crypto` does not give the state of an MD5 away. Pure.
 */

/** Memory of the module: four words of MD5 state, two of the rolling sum, and the data. Byte offsets. */
export const STATE_AT = 0;
export const ROLLING_AT = 16;
export const DATA_AT = 64;
/** Bytes that fit behind `DATA_AT`. */
export const DATA_SIZE = 128 * 1024;

/** What the module offers. `length` counts bytes at `DATA_AT`; for `md5` a multiple of 64. */
export interface SumModule {
  readonly memory: Uint8Array;
  md5(length: number): void;
  rolling(length: number): void;
}

const I32 = 0x7f;
/** Opcodes (WebAssembly core specification §5.4). */
const Op = {
  block: 0x02,
  loop: 0x03,
  end: 0x0b,
  branchIf: 0x0d,
  get: 0x20,
  set: 0x21,
  tee: 0x22,
  load: 0x28,
  loadSigned8: 0x2c,
  store: 0x36,
  constant: 0x41,
  equalZero: 0x45,
  lessUnsigned: 0x49,
  add: 0x6a,
  and: 0x71,
  or: 0x72,
  xor: 0x73,
  rotateLeft: 0x77,
} as const;

const SHIFTS = [
  [7, 12, 17, 22],
  [5, 9, 14, 20],
  [4, 11, 16, 23],
  [6, 10, 15, 21],
] as const;

/** Parameter and locals of both functions by number. */
const END = 0;
const AT = 1;
const [A, B, C, D] = [2, 3, 4, 5] as const;
const UNROLLED = 8;

function unsigned(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  while (rest > 0x7f) {
    bytes.push((rest & 0x7f) | 0x80);
    rest >>>= 7;
  }
  return [...bytes, rest];
}

function signed(value: number): number[] {
  const bytes: number[] = [];
  for (let rest = value | 0; ; rest >>= 7) {
    const isLast = (rest >> 7 === 0 && (rest & 0x40) === 0) || (rest >> 7 === -1 && (rest & 0x40) !== 0);
    bytes.push((rest & 0x7f) | (isLast ? 0 : 0x80));
    if (isLast) return bytes;
  }
}

const get = (local: number): number[] => [Op.get, local];
const constant = (value: number): number[] => [Op.constant, ...signed(value)];
const load = (offset: number): number[] => [Op.load, 2, ...unsigned(offset)];

/** Runs `body` while the place in memory is below the end; it must move the place itself. */
function whileBelowEnd(body: readonly number[]): number[] {
  const atEnd = [...get(AT), ...get(END), Op.lessUnsigned, Op.equalZero, Op.branchIf, 1];
  const again = [...get(AT), ...get(END), Op.lessUnsigned, Op.branchIf, 0];
  return [Op.block, 0x40, Op.loop, 0x40, ...atEnd, ...body, ...again, Op.end, Op.end];
}

const advance = (bytes: number): number[] => [...get(AT), ...constant(bytes), Op.add, Op.set, AT];

/** RFC 1321 §3.4: the auxiliary function of a round. */
function mix(round: number, b: number, c: number, d: number): number[] {
  if (round === 0) return [...get(d), ...get(b), ...get(c), ...get(d), Op.xor, Op.and, Op.xor];
  if (round === 1) return [...get(c), ...get(d), ...get(b), ...get(c), Op.xor, Op.and, Op.xor];
  if (round === 2) return [...get(b), ...get(c), Op.xor, ...get(d), Op.xor];
  return [...get(c), ...get(b), ...get(d), ...constant(-1), Op.xor, Op.or, Op.xor];
}

function wordOf(round: number, step: number): number {
  if (round === 0) return step;
  if (round === 1) return (5 * step + 1) % 16;
  return (round === 2 ? 3 * step + 5 : 7 * step) % 16;
}

function md5Body(): number[] {
  const words = [A, B, C, D];
  const body: number[] = [];
  for (const word of words) body.push(...get(word), Op.set, word + 4);
  let [a, b, c, d]: [number, number, number, number] = [A, B, C, D];
  for (let index = 0; index < 64; index++) {
    const round = index >> 4;
    const step = index & 15;
    const sine = Math.floor(Math.abs(Math.sin(index + 1)) * 2 ** 32) | 0;
    body.push(...get(a), ...get(AT), ...load(DATA_AT + 4 * wordOf(round, step)), Op.add, ...constant(sine), Op.add);
    body.push(...mix(round, b, c, d), Op.add, ...constant(SHIFTS[round]?.[step & 3] ?? 0), Op.rotateLeft, ...get(b), Op.add, Op.set, a);
    [a, b, c, d] = [d, a, b, c];
  }
  for (const word of words) body.push(...get(word), ...get(word + 4), Op.add, Op.set, word);
  body.push(...advance(64));
  const begin = words.flatMap((word, index) => [...constant(0), ...load(STATE_AT + 4 * index), Op.set, word]);
  const finish = words.flatMap((word, index) => [...constant(0), ...get(word), Op.store, 2, STATE_AT + 4 * index]);
  return [...begin, ...whileBelowEnd(body), ...finish];
}

function rollingBody(): number[] {
  const step = (offset: number): number[] => [
    ...[...get(A), ...get(AT), Op.loadSigned8, 0, ...unsigned(DATA_AT + offset), Op.add, Op.tee, A],
    ...[...get(B), Op.add, Op.set, B],
  ];
  const many = Array.from({ length: UNROLLED }, (_, offset) => step(offset)).flat();
  const begin = [A, B].flatMap((word, index) => [...constant(0), ...load(ROLLING_AT + 4 * index), Op.set, word]);
  const finish = [A, B].flatMap((word, index) => [...constant(0), ...get(word), Op.store, 2, ROLLING_AT + 4 * index]);
  // The rest that is no multiple is summed one by one: the end is moved there and back.
  const wholeEnd = [...get(END), Op.set, C, ...get(END), ...constant(-UNROLLED), Op.and, Op.set, END];
  const allEnd = [...get(C), Op.set, END];
  const all = [...wholeEnd, ...whileBelowEnd([...many, ...advance(UNROLLED)]), ...allEnd, ...whileBelowEnd([...step(0), ...advance(1)])];
  return [...begin, ...all, ...finish];
}

function section(id: number, content: readonly number[]): number[] {
  return [id, ...unsigned(content.length), ...content];
}

function name(text: string): number[] {
  return [text.length, ...Buffer.from(text)];
}

function functionCode(locals: number, body: readonly number[]): number[] {
  const code = [1, locals, I32, ...body, Op.end];
  return [...unsigned(code.length), ...code];
}

function moduleBytes(): Uint8Array<ArrayBuffer> {
  const pages = Math.ceil((DATA_AT + DATA_SIZE) / 65_536);
  return Uint8Array.from([
    ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, [1, 0x60, 1, I32, 0]),
    ...section(3, [2, 0, 0]),
    ...section(5, [1, 0, pages]),
    ...section(7, [3, ...name("memory"), 2, 0, ...name("md5"), 0, 0, ...name("rolling"), 0, 1]),
    ...section(10, [2, ...functionCode(9, md5Body()), ...functionCode(9, rollingBody())]),
  ]);
}

/** What of WebAssembly's JavaScript interface is used here; its types come with browsers' only. */
declare const WebAssembly: {
  readonly Module: new (bytes: Uint8Array) => object;
  readonly Instance: new (
    module: object,
  ) => {
    readonly exports: {
      readonly memory: { readonly buffer: ArrayBuffer };
      readonly md5: (length: number) => void;
      readonly rolling: (length: number) => void;
    };
  };
};

let loaded: SumModule | undefined;

/** The one instance of the process, made when it is first needed. What is put into its memory does not outlast a turn. */
export function sumModule(): SumModule {
  if (loaded) return loaded;
  const { memory, md5, rolling } = new WebAssembly.Instance(new WebAssembly.Module(moduleBytes())).exports;
  loaded = { memory: new Uint8Array(memory.buffer), md5, rolling };
  return loaded;
}
