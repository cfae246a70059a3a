/**
 * A shim without containers, for tests: it serves the task API on a real socket, keeps what it holds when its process
 * dies, as the state on disk would, and hangs, dies or refuses at the calls that the test names.
 */
import { join } from 'node:path';
import { ContainerdError } from '../base/errors.ts';
import { silentLogger } from '../base/logger.ts';
import type { Platform } from '../platform/platform.ts';
import { SIGKILL } from '../platform/signals.ts';
import { Task } from '../wire/gen/containerd/runtime/task/v3/shim_pb.js';
import { Status } from '../wire/gen/containerd/types/task/task_pb.js';
import { type Handlers, serve } from '../wire/service.ts';
import { TtrpcServer } from '../wire/ttrpc/server.ts';
import { UnixListener } from '../wire/unix-listener.ts';

export type Method = Exclude<keyof Handlers<typeof Task>, undefined>;

/** `before` and `after` it has done what was asked. */
export type Fault = 'hang' | 'die before' | 'die after' | ContainerdError;

interface HeldProcess {
  pid: number;
  status: Status;
  exitStatus: number;
  ended: PromiseWithResolvers<void>;
}

export class FakeShim implements AsyncDisposable {
  /** What was really done, in order: `start c1`. */
  readonly effects: string[] = [];
  /** Each fault happens as often as it is listed; the empty list is none. */
  readonly faults = new Map<Method, Fault[]>();
  /** Starts that fail, before one succeeds. */
  failingStarts = 0;
  starts = 0;
  readonly directory: string;
  readonly #platform: Platform;
  readonly #held = new Map<string, HeldProcess>();
  #serving: { server: TtrpcServer; listener: UnixListener; pid: number } | undefined;

  constructor(dependencies: { readonly platform: Platform }, options: { readonly directory: string }) {
    this.#platform = dependencies.platform;
    this.directory = options.directory;
  }

  get socket(): string {
    return join(this.directory, 'sock');
  }

  /** Of the process that stands for the shim: killing that one kills the shim. */
  get pid(): number {
    return this.#serving?.pid ?? 0;
  }

  /** Listens, if it does not yet. */
  async start(): Promise<void> {
    if (this.#serving !== undefined) return;
    if (this.failingStarts > 0) {
      this.failingStarts -= 1;
      throw new ContainerdError('Unavailable', 'the fake shim does not start');
    }
    this.starts += 1;
    const { processes } = this.#platform;
    const listener = await UnixListener.listen(this.#platform, this.socket);
    const server = new TtrpcServer({ log: silentLogger, services: [serve(Task, this.#handlers())] });
    server.attach(listener);
    const pid = processes.spawn({ file: 'sleep', args: ['1000'], env: { PATH: '/bin' }, stdio: [] });
    const serving = { server, listener, pid };
    this.#serving = serving;
    void processes.exited(pid).then(() => this.#stop(serving));
  }

  /** As kill -9 does it; resolves when nobody is connected any more. */
  async die(): Promise<void> {
    const serving = this.#serving;
    if (serving === undefined) return;
    this.#platform.processes.kill(serving.pid, SIGKILL);
    await this.#platform.processes.exited(serving.pid);
    await this.#stop(serving);
  }

  /** Ends a process that it holds. */
  exit(key: string, exitStatus: number): void {
    const held = this.#get(key);
    held.status = Status.STOPPED;
    held.exitStatus = exitStatus;
    held.ended.resolve();
  }

  /** Forgets what it holds, as if it could not be taken over. */
  lose(key: string): void {
    this.#held.delete(key);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.die();
  }

  async #stop({ server, listener }: { server: TtrpcServer; listener: UnixListener }): Promise<void> {
    if (this.#serving?.server === server) this.#serving = undefined;
    await Promise.all([listener.close(), server.shutdown(0)]);
  }

  #get(key: string): HeldProcess {
    const held = this.#held.get(key);
    if (held === undefined) throw new ContainerdError('NotFound', `process ${key}`);
    return held;
  }

  #add(key: string): HeldProcess {
    if (this.#held.has(key)) throw new ContainerdError('AlreadyExists', `process ${key}`);
    const pid = 100_000 + this.#held.size;
    const held = { pid, status: Status.CREATED, exitStatus: 0, ended: Promise.withResolvers<void>() };
    this.#held.set(key, held);
    return held;
  }

  /** Does `effect` with the faults of the method around it. */
  async #faulty<Answer>(method: Method, key: string, effect: () => Answer): Promise<Answer> {
    const fault = this.faults.get(method)?.shift();
    if (fault === 'hang') await new Promise(() => {});
    if (fault instanceof ContainerdError) throw fault;
    if (fault === 'die before') await this.#dieNow();
    const answer = effect();
    this.effects.push(`${method} ${key}`);
    if (fault === 'die after') await this.#dieNow();
    return answer;
  }

  async #dieNow(): Promise<never> {
    void this.die();
    return new Promise<never>(() => {});
  }

  #handlers(): Handlers<typeof Task> {
    const keyOf = ({ id, execId = '' }: { id: string; execId?: string }): string =>
      execId === '' ? id : `${id}/${execId}`;
    const stateOf = (key: string) => {
      const { pid, status, exitStatus } = this.#get(key);
      return { id: key, pid: status === Status.CREATED && key.includes('/') ? 0 : pid, status, exitStatus };
    };
    const change = (method: Method) => (_ctx: unknown, request: { id: string; execId?: string }) =>
      this.#faulty(method, keyOf(request), () => {
        this.#get(keyOf(request));
        return {};
      });
    const toStatus = (method: Method, status: Status) => (_ctx: unknown, request: { id: string }) =>
      this.#faulty(method, request.id, () => {
        this.#get(request.id).status = status;
        return {};
      });
    return {
      connect: (_ctx, request) =>
        this.#faulty('connect', request.id, () => ({
          shimPid: this.pid,
          taskPid: this.#get(request.id).pid,
          version: '',
        })),
      state: (_ctx, request) => this.#faulty('state', keyOf(request), () => stateOf(keyOf(request))),
      stats: change('stats'),
      pids: change('pids'),
      create: (_ctx, request) =>
        this.#faulty('create', request.id, () => ({ pid: this.#add(request.id).pid })),
      exec: (_ctx, request) =>
        this.#faulty('exec', keyOf(request), () => {
          this.#add(keyOf(request));
          return {};
        }),
      start: (_ctx, request) =>
        this.#faulty('start', keyOf(request), () => {
          const held = this.#get(keyOf(request));
          if (held.status !== Status.CREATED)
            throw new ContainerdError('FailedPrecondition', 'started before');
          held.status = Status.RUNNING;
          return { pid: held.pid };
        }),
      delete: (_ctx, request) =>
        this.#faulty('delete', keyOf(request), () => {
          const { pid, exitStatus } = this.#get(keyOf(request));
          this.#held.delete(keyOf(request));
          return { pid, exitStatus };
        }),
      kill: (_ctx, request) =>
        this.#faulty('kill', keyOf(request), () => {
          const held = this.#get(keyOf(request));
          if (held.status === Status.STOPPED)
            throw new ContainerdError('NotFound', 'process already finished');
          this.exit(keyOf(request), 128 + request.signal);
          return {};
        }),
      wait: async (_ctx, request) => {
        const held = this.#get(keyOf(request));
        await held.ended.promise;
        return { exitStatus: held.exitStatus };
      },
      pause: toStatus('pause', Status.PAUSED),
      resume: toStatus('resume', Status.RUNNING),
      update: change('update'),
      resizePty: change('resizePty'),
      closeIO: change('closeIO'),
      checkpoint: change('checkpoint'),
      shutdown: async () => ({}),
    };
  }
}
