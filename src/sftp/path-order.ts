/**
 * Lets requests on paths run side by side and still behave as if they ran one after the other: a request waits for
 * earlier ones it could notice or disturb. Knows paths as normalised text only; what requests do is told by their scope.
 */

/**
 * What a request looks at or changes:
 * - `look`: one name, changing nothing (STAT, READLINK, OPEN for reading);
 * - `list`: a directory's names (OPENDIR);
 * - `change`: the name and, for a directory, all below it (OPEN for writing, CLOSE, MKDIR, REMOVE, RENAME, SETSTAT …).
 */
export type PathScope = "look" | "list" | "change";

/** A request's place in the order, from `enter` to `leave`. */
export interface PathTicket {
  /** Resolves when nothing earlier is in the way; undefined if nothing was. */
  readonly ready: Promise<void> | undefined;
}

interface Ticket extends PathTicket {
  readonly scope: PathScope;
  readonly paths: readonly string[];
  /** The same paths with a slash at the end, to tell what lies below them. */
  readonly prefixes: readonly string[];
  readonly dependents: Ticket[];
  blockers: number;
  ready: Promise<void> | undefined;
  resolve: (() => void) | undefined;
}

/** The unfinished requests of one channel in the order they came. Few hundreds at most: the request queue sees to that. */
export class PathOrder {
  readonly #tickets = new Map<PathTicket, Ticket>();

  /** Takes a place behind all that entered before. `paths` are normalised and absolute. The caller owes `leave`. */
  enter(scope: PathScope, paths: readonly string[]): PathTicket {
    const prefixes = paths.map((path) => (path === "/" ? path : `${path}/`));
    const ticket: Ticket = { scope, paths, prefixes, dependents: [], blockers: 0, ready: undefined, resolve: undefined };
    for (const earlier of this.#tickets.values()) {
      if (!conflict(earlier, ticket)) continue;
      earlier.dependents.push(ticket);
      ticket.blockers++;
    }
    if (ticket.blockers > 0) {
      ticket.ready = new Promise((resolve) => {
        ticket.resolve = resolve;
      });
    }
    this.#tickets.set(ticket, ticket);
    return ticket;
  }

  /** Gives the place up, done or failed. */
  leave(place: PathTicket): void {
    const ticket = this.#tickets.get(place);
    if (!ticket) return;
    this.#tickets.delete(place);
    for (const dependent of ticket.dependents) {
      dependent.blockers--;
      if (dependent.blockers === 0) dependent.resolve?.();
    }
  }
}

function conflict(earlier: Ticket, later: Ticket): boolean {
  if (earlier.scope !== "change" && later.scope !== "change") return false;
  for (let i = 0; i < earlier.paths.length; i++) {
    for (let j = 0; j < later.paths.length; j++) {
      if (earlier.paths[i] === later.paths[j]) return true;
      if (isBelow(later, j, earlier, i) && earlier.scope !== "look") return true;
      if (isBelow(earlier, i, later, j) && later.scope !== "look") return true;
    }
  }
  return false;
}

/** True if the path `a` of `ticket` lies below the path `b` of `other`. */
function isBelow(ticket: Ticket, a: number, other: Ticket, b: number): boolean {
  return (ticket.paths[a] ?? "").startsWith(other.prefixes[b] ?? "/");
}
