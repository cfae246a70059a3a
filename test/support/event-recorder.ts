/** Every event of a daemon from the moment that `start` resolves, across no restart: a stream ends with its daemon. */
import { connect, type EventEnvelope } from '../../src/client/index.ts';
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
  readonly #stop = new AbortController();
  #reading: Promise<void> = Promise.resolve();

  static async start(daemon: Daemon): Promise<EventRecorder> {
    const recorder = new EventRecorder();
    const client = connect({ address: daemon.address });
    const read = async (): Promise<void> => {
      try {
        for await (const event of client.events.subscribe([], { signal: recorder.#stop.signal }))
          recorder.events.push(event);
      } catch {
        // Ended by us, or with the daemon.
      } finally {
        await client[Symbol.asyncDispose]();
      }
    };
    recorder.#reading = read();
    const hello = connect({ address: daemon.address });
    await until('events are heard', async () => {
      await hello.events.publish('/test/hello', { typeUrl: 'test', value: new Uint8Array() });
      return recorder.events.length > 0;
    });
    await hello[Symbol.asyncDispose]();
    return recorder;
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
  }

  #fieldsOf(topic: string): Readonly<Record<string, unknown>>[] {
    return this.events.filter((event) => event.topic === topic).map(({ fields }) => fields ?? {});
  }
}
