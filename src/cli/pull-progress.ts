/**
 * What a pull looks like, from the daemon's progress events: a pure model, asked for frames (on a terminal) or for
 * lines (elsewhere). Everything in an event is the registry's word and is made printable before it is shown.
 */
import { digestHex } from '../base/digest.ts';
import type { TransferProgress } from '../client/index.ts';
import { isLayer } from '../oci/media-types.ts';
import { printable, truncated } from './table.ts';
import { formatDuration, formatSize } from './units.ts';

type Phase = 'waiting' | 'downloading' | 'downloaded' | 'extracting' | 'exists' | 'done';

interface Part {
  readonly label: string;
  readonly isLayer: boolean;
  phase: Phase;
  doneBytes: number;
  totalBytes: number;
  /** It comes, or came, over the network in this pull; by the end all of it has. */
  isFetched: boolean;
  /** Of which has come so far. */
  fetchedBytes: number;
}

const phases: Readonly<Record<string, Phase>> = {
  waiting: 'waiting',
  downloading: 'downloading',
  'already exists': 'exists',
  complete: 'downloaded',
  extracting: 'extracting',
  extracted: 'done',
};
const order: readonly Phase[] = ['waiting', 'downloading', 'downloaded', 'exists', 'extracting', 'done'];

export class PullProgress {
  readonly #reference: string;
  readonly #startedMs: number;
  readonly #parts = new Map<string, Part>();
  #stage = 'resolving';
  #lines: string[] = [];

  constructor(reference: string, startedMs: number) {
    this.#reference = printable(reference);
    this.#startedMs = startedMs;
  }

  apply(event: TransferProgress): void {
    if (event.descriptor === undefined) {
      this.#applyStage(event);
      return;
    }
    const { digest, mediaType, sizeBytes } = event.descriptor;
    const part = this.#parts.get(digest) ?? newPart(digestHex(digest).slice(0, 12), { mediaType, sizeBytes });
    this.#parts.set(digest, part);
    const phase = phases[event.event];
    if (phase === undefined) return;
    if (phase === 'downloading') {
      part.doneBytes = Math.max(part.doneBytes, event.progress);
      part.isFetched = true;
      part.fetchedBytes = part.doneBytes;
      part.totalBytes = Math.max(part.totalBytes, event.total);
    }
    // A layer is extracted while it comes, so its download may end in any phase.
    if (part.isFetched && (phase === 'downloaded' || phase === 'done')) part.fetchedBytes = part.totalBytes;
    // Late reports of an earlier phase happen: events of several workers share a stream.
    if (order.indexOf(phase) <= order.indexOf(part.phase)) return;
    part.phase = phase;
    if (part.isLayer) this.#lines.push(lineOf(part));
  }

  /** What has happened since it was asked last, a line each: for logs and pipes. */
  takeLines(): string[] {
    const lines = this.#lines;
    this.#lines = [];
    return lines;
  }

  /** The whole picture, a line for each layer and one for the sum, none wider than `columns`. */
  frame(nowMs: number, columns: number): string[] {
    const layers = [...this.#parts.values()].filter((part) => part.isLayer);
    return [...layers.map((part) => barLine(part, columns)), this.#sumLine(layers, nowMs)].map((line) =>
      truncated(line, columns - 1),
    );
  }

  /** Bytes that came over the network, and how long it took. */
  summary(nowMs: number): string {
    const elapsedMs = nowMs - this.#startedMs;
    const fetched = [...this.#parts.values()].reduce((sum, part) => sum + part.fetchedBytes, 0);
    const what = fetched === 0 ? 'nothing to fetch' : `${formatSize(fetched)} fetched`;
    return `${what}, ${formatDuration(elapsedMs)}`;
  }

  #applyStage({ event }: TransferProgress): void {
    const stage = /^(resolving|pulling|fetching|saved|completed)/i.exec(event)?.[1]?.toLowerCase();
    if (stage === undefined || stage === this.#stage) return;
    this.#stage = stage === 'saved' || stage === 'completed' ? 'finishing' : stage;
    // The daemon may report the last layers no more once the image is stored.
    if (stage === 'completed')
      for (const part of this.#parts.values()) {
        if (part.isFetched) part.fetchedBytes = part.totalBytes;
        part.phase = 'done';
      }
  }

  #sumLine(layers: readonly Part[], nowMs: number): string {
    const elapsedMs = Math.max(nowMs - this.#startedMs, 1);
    if (layers.length === 0) return `${this.#reference}: ${this.#stage}  ${formatDuration(elapsedMs)}`;
    const total = layers.reduce((sum, part) => sum + part.totalBytes, 0);
    const done = layers.reduce((sum, part) => sum + shownBytes(part), 0);
    const fetched = layers.reduce((sum, part) => sum + part.fetchedBytes, 0);
    const rate = `${formatSize((fetched * 1000) / elapsedMs)}/s`;
    return `${formatSize(done)} of ${formatSize(total)}  ${rate}  ${formatDuration(elapsedMs)}`;
  }
}

const newPart = (
  label: string,
  { mediaType, sizeBytes }: { mediaType: string; sizeBytes: number },
): Part => ({
  label,
  isLayer: isLayer(mediaType),
  phase: 'waiting',
  doneBytes: 0,
  totalBytes: sizeBytes,
  isFetched: false,
  fetchedBytes: 0,
});

const shownBytes = (part: Part): number =>
  part.phase === 'waiting' || part.phase === 'downloading'
    ? Math.min(part.doneBytes, part.totalBytes)
    : part.totalBytes;

const words: Readonly<Record<Phase, string>> = {
  waiting: 'waiting',
  downloading: 'downloading',
  downloaded: 'downloaded',
  exists: 'already here',
  extracting: 'extracting',
  done: 'done',
};

const lineOf = (part: Part): string => `${part.label}: ${words[part.phase]} (${formatSize(part.totalBytes)})`;

function barLine(part: Part, columns: number): string {
  const head = `${part.label}  ${words[part.phase].padEnd(12)}`;
  const size = formatSize(part.totalBytes);
  if (part.phase !== 'downloading') return `${head}  ${size}`;
  const tail = `${formatSize(shownBytes(part))} / ${size}`;
  const width = Math.min(columns - head.length - tail.length - 6, 40);
  if (width < 8) return `${head}  ${tail}`;
  const share = part.totalBytes === 0 ? 0 : shownBytes(part) / part.totalBytes;
  const filled = Math.round(share * width);
  return `${head}  ${'█'.repeat(filled)}${'░'.repeat(width - filled)}  ${tail}`;
}
