/** Questions to other processes whose answers come as messages. Knows no process. */

/** See the head of this file. */
export class Answers<T> {
  readonly #waiting = new Map<number, (answer: T | undefined) => void>();
  #last = 0;

  /** Sends a question and resolves with its answer, or with undefined if none comes within `timeoutMs`. */
  ask(timeoutMs: number, send: (request: number) => void): Promise<T | undefined> {
    const request = ++this.#last;
    return new Promise((resolve) => {
      const timer = setTimeout(() => this.#settle(request, undefined), timeoutMs);
      this.#waiting.set(request, (answer) => {
        clearTimeout(timer);
        resolve(answer);
      });
      send(request);
    });
  }

  /** Gives an answer; one that nobody waits for any more is dropped. */
  answer(request: number, answer: T): void {
    this.#settle(request, answer);
  }

  #settle(request: number, answer: T | undefined): void {
    const settle = this.#waiting.get(request);
    this.#waiting.delete(request);
    settle?.(answer);
  }
}
