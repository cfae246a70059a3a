/**
 * What a transfer tells its watchers, in the words, names and order of containerd's transfer API: clients build their
 * displays on them. Each piece of content has a node, named by its ingest ref, under its parent's.
 */
import type { Descriptor } from '../../oci/descriptor.ts';
import { ingestRefOf } from '../../oci/media-types.ts';
import type { ProgressSink, TransferProgress } from './transfer.ts';

/** Two reports of the same download are at least this far apart: a display needs no more. */
const intervalMs = 100;

export class ProgressReport {
  readonly #sink: ProgressSink;
  /** Name of the root node. */
  #root = '';
  readonly #parents = new Map<string, readonly string[]>();
  readonly #lastMs = new Map<string, number>();

  constructor(sink: ProgressSink) {
    this.#sink = sink;
  }

  /** A headline without a node: "Resolving from …". */
  stage(event: string, descriptor?: Descriptor): void {
    this.#send(event, '', [], 0, 0, descriptor);
  }

  /** A node that stands for the whole. */
  root(event: string, name: string, target?: Descriptor): void {
    this.#root = name;
    this.#send(event, name, [], 0, 0, target);
  }

  saved(name: string, target: Descriptor): void {
    this.#send('saved', name, [], 0, 0, target);
  }

  /** Children come after their parent, so that a display can hang them in. */
  setChildren(parent: Descriptor, children: readonly Descriptor[]): void {
    const name = ingestRefOf(parent);
    for (const child of children) {
      const key = ingestRefOf(child);
      const known = this.#parents.get(key) ?? [];
      if (!known.includes(name)) this.#parents.set(key, [...known, name]);
    }
  }

  waiting(descriptor: Descriptor): void {
    this.#content('waiting', descriptor, 0);
  }

  /** `event` is "downloading" or "uploading". Reports that come too soon are dropped. */
  moving(event: 'downloading' | 'uploading', descriptor: Descriptor, doneBytes: number): void {
    const key = ingestRefOf(descriptor);
    const nowMs = performance.now();
    if (nowMs - (this.#lastMs.get(key) ?? -intervalMs) < intervalMs) return;
    this.#lastMs.set(key, nowMs);
    this.#content(event, descriptor, doneBytes);
  }

  exists(descriptor: Descriptor): void {
    this.#content('already exists', descriptor, descriptor.sizeBytes);
  }

  complete(descriptor: Descriptor): void {
    this.#content('complete', descriptor, descriptor.sizeBytes);
  }

  /** Bytes as they come out of the layer; they may pass its compressed size, so the node's progress is capped. */
  extracting(descriptor: Descriptor, doneBytes: number): void {
    const key = `extracting ${descriptor.digest}`;
    const nowMs = performance.now();
    if (doneBytes > 0 && nowMs - (this.#lastMs.get(key) ?? -intervalMs) < intervalMs) return;
    this.#lastMs.set(key, nowMs);
    this.#content('extracting', descriptor, Math.min(doneBytes, descriptor.sizeBytes));
  }

  extracted(descriptor: Descriptor): void {
    this.#content('extracted', descriptor, descriptor.sizeBytes);
  }

  #content(event: string, descriptor: Descriptor, progress: number): void {
    const name = ingestRefOf(descriptor);
    const parents = this.#parents.get(name) ?? (this.#root === '' ? [] : [this.#root]);
    this.#send(event, name, parents, progress, descriptor.sizeBytes, descriptor);
  }

  #send(
    event: string,
    name: string,
    parents: readonly string[],
    progress: number,
    total: number,
    descriptor: Descriptor | undefined,
  ): void {
    const report: TransferProgress = {
      event,
      name,
      parents,
      progress,
      total,
      ...(descriptor && { descriptor }),
    };
    this.#sink(report);
  }
}
