// What is open with the host, which closes with the turn.

/** A handle of the host's. */
export abstract class Open {
  constructor(protected handle: i32) {
    if (handle) opened.add(this);
  }

  /** For who does not read to the end. The end of the turn does it, too. */
  close(): void {
    if (!this.handle) return;
    opened.delete(this);
    this.drop(this.handle);
    this.handle = 0;
  }

  /** Gives the handle back. */
  protected abstract drop(handle: i32): void;
}

const opened = new Set<Open>();

/** The handler has returned. Not for classes. */
export function closeAll(): void {
  if (!opened.size) return;
  const all = opened.values();
  for (let i = 0; i < all.length; i++) all[i].close();
}
