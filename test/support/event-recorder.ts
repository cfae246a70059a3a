/** Events of a daemon from the moment that `start` resolves, across no restart: a stream ends with its daemon. */
import { connect, type EventEnvelope, type GantryClient, hasCode } from '../../src/client/index.ts';
import { until } from '../../src/testing/until.ts';
import type { Daemon } from './daemon.ts';

export interface Exit {
  readonly container: string;
  /** The container's id for init, the exec id otherwise. */
  readonly process: string;
  readonly status: number;
}

export class EventRecorder implements AsyncDisposable {
  readonly events: EventEnvelope[] = [];
  readonly #client: GantryClient;
  readonly #stop = new AbortController();
  readonly #reading: Promise<void>;
  #failure: unknown;

  private constructor(client: GantryClient, filters: readonly string[]) {
    this.#client = client;
    this.#reading = this.#read(filters);
  }

  /** Hears one namespace, or all of them. */
  static async start(
    { address }: Pick<Daemon, 'address'>,
    { namespace }: { namespace?: string } = {},
  ): Promise<EventRecorder> {
    const client = connect({ address, ...(namespace !== undefined && { namespace }) });
    const filters = namespace === undefined ? [] : [`namespace==${namespace}`];
    const recorder = new EventRecorder(client, filters);
    await until('events are heard', async () => {
      await client.events.publish('/test/hello', { typeUrl: 'test', value: new Uint8Array() });
      return recorder.events.length > 0;
    });
    return recorder;
  }

  /** Of one container's task, in their order. */
  of(containerId: string): EventEnvelope[] {
    return this.events.filter(({ fields }) => fields?.['containerId'] === containerId);
  }

  /** In the order in which they were told. */
  exits(): Exit[] {
    return this.#fieldsOf('/tasks/exit').map((fields) => ({
      container: String(fields['containerId']),
      process: String(fields['id']),
      status: Number(fields['exitStatus'] ?? 0),
    }));
  }

  /** Of init, for one container. */
  statuses(container: string): number[] {
    return this.exits()
      .filter((exit) => exit.container === container && exit.process === container)
      .map(({ status }) => status);
  }

  /** Steps of escalations of one container, each with its call: `ping of start`. */
  steps(container: string): string[] {
    return this.#fieldsOf('/gantry/task-escalated')
      .filter((fields) => fields['containerId'] === container)
      .map((fields) => `${String(fields['step'])} of ${String(fields['call'])}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#reading;
    await this.#client[Symbol.asyncDispose]();
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** Until we end it, or the daemon ends. */
  async #read(filters: readonly string[]): Promise<void> {
    try {
      for await (const event of this.#client.events.subscribe(filters, { signal: this.#stop.signal }))
        this.events.push(event);
    } catch (error) {
      if (!hasCode(error, 'Canceled') && !hasCode(error, 'Unavailable')) this.#failure = error;
    }
  }

  #fieldsOf(topic: string): Readonly<Record<string, unknown>>[] {
    return this.events.filter((event) => event.topic === topic).map(({ fields }) => fields ?? {});
  }
}
