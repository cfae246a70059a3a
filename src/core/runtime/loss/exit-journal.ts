/**
 * What the ledger of exits was told, on disk: so that the next daemon knows what this one has passed on. In the state
 * directory and not synced, for it means nothing after a reboot. Only the last events count: a shim notes what the
 * daemon has taken, so that what it may tell again is seconds old.
 */
import { appendFileSync, readFileSync } from 'node:fs';
import { limits } from '../../../base/limits.ts';
import { replaceFile } from '../../../platform/replace-file.ts';
import { packAny, unpackAny } from '../../../wire/any.ts';
import { TaskCreateSchema } from '../../../wire/gen/containerd/events/task_pb.js';
import type { Envelope } from '../../events/event-exchange.ts';

export type JournalEvent = Pick<Envelope, 'namespace' | 'topic' | 'event'>;

const topics: ReadonlySet<string> = new Set([
  '/tasks/create',
  '/tasks/exec-added',
  '/tasks/exit',
  '/tasks/delete',
]);

export class ExitJournal {
  readonly #path: string;
  #lines: string[];
  /** Written by us: what is there before may end in half a line. */
  #isOurs = false;

  constructor(path: string) {
    this.#path = path;
    this.#lines = readLines(path);
  }

  /** What an earlier daemon noted, in order. A line that a kill cut short is none. */
  *events(): Generator<JournalEvent> {
    for (const line of this.#lines)
      try {
        const [namespace, topic, typeUrl, value] = JSON.parse(line) as [
          JournalEvent['namespace'],
          ...string[],
        ];
        if (topic !== undefined && typeUrl !== undefined && value !== undefined)
          yield { namespace, topic, event: { typeUrl, value: Buffer.from(value, 'base64') } };
      } catch {
        // Cut short.
      }
  }

  /** Events of other topics are passed over. Errors: the file system's. */
  note({ namespace, topic, event }: JournalEvent): void {
    if (!topics.has(topic)) return;
    // Of a creation only the name counts, and it may carry a long list of mounts.
    const { typeUrl, value } =
      topic === '/tasks/create'
        ? packAny(TaskCreateSchema, { containerId: unpackAny(TaskCreateSchema, event).containerId })
        : event;
    const line = JSON.stringify([namespace, topic, typeUrl, Buffer.from(value).toString('base64')]);
    this.#lines.push(line);
    if (this.#isOurs && this.#lines.length < 2 * limits.journalEvents) {
      appendFileSync(this.#path, `${line}\n`, { mode: 0o600 });
      return;
    }
    this.#lines = this.#lines.slice(-limits.journalEvents);
    replaceFile(this.#path, this.#lines.map((one) => `${one}\n`).join(''), { mode: 0o600 });
    this.#isOurs = true;
  }
}

function readLines(path: string): string[] {
  try {
    return readFileSync(path, 'utf8').split('\n').filter(Boolean);
  } catch {
    return [];
  }
}
