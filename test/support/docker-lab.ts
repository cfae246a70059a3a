/** A gantryd, a dockerd on its socket and a registry with the busybox sample, and how tests speak to them. */
import { type ChildProcess, spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { until } from '../../src/testing/until.ts';
import { type Daemon, startGantry } from './daemon.ts';
import { type Docker, type DockerClient, type DockerOptions, startDocker } from './docker.ts';
import { type Registry, startRegistry } from './registry.ts';
import { attempt, run } from './run.ts';
import { ensureSampleImages } from './sample-images.ts';

/** The namespace that dockerd keeps its things in. */
const namespace = 'moby';

/** A client that goes on while the test looks. */
export interface Talk extends AsyncDisposable {
  /** Waits until its output, stdout and stderr together, matches. */
  says(pattern: RegExp): Promise<void>;
  write(text: string): void;
  endInput(): void;
  /** Exit status and output, once it has ended. */
  readonly ended: Promise<{ readonly status: number | null; readonly output: string }>;
}

type Parts = Pick<DockerLab, 'gantry' | 'engine' | 'registry'>;

export class DockerLab implements AsyncDisposable {
  readonly gantry: Daemon;
  readonly engine: Docker;
  readonly registry: Registry;
  readonly image: string;
  readonly storage: DockerOptions['storage'];
  readonly #binary: string;

  private constructor(options: DockerOptions, { gantry, engine, registry }: Parts) {
    this.gantry = gantry;
    this.engine = engine;
    this.registry = registry;
    this.image = registry.reference('busybox');
    this.storage = options.storage;
    this.#binary = options.binaries.docker;
  }

  /** `startDaemon` makes what is to be tried: ours, or another to compare with. */
  static async open(
    options: Omit<DockerOptions, 'containerd' | 'registries'>,
    startDaemon: () => Promise<Daemon> = startGantry,
  ): Promise<DockerLab> {
    await using undo = new AsyncDisposableStack();
    const registry = undo.use(await startRegistry(['busybox']));
    const gantry = undo.use(await startDaemon());
    const all: DockerOptions = { ...options, containerd: gantry.address, registries: [registry.host] };
    const engine = undo.use(await startDocker(all));
    const lab = new DockerLab(all, { gantry, engine, registry });
    // From its own network namespace dockerd does not reach the registry.
    if (options.networks === true) await lab.#load();
    else await lab.docker('pull', '-q', lab.image);
    undo.move();
    return lab;
  }

  async #load(): Promise<void> {
    const archive = join(this.engine.dir, 'sample.tar');
    const target = `docker-archive:${archive}:${this.image}`;
    await run('skopeo', ['copy', '-q', `oci:${await ensureSampleImages()}:busybox`, target]);
    await this.docker('load', '-q', '-i', archive);
  }

  get docker(): DockerClient {
    return this.engine.docker;
  }

  /** A running container from a shell script. */
  async start(name: string, script: string, ...flags: string[]): Promise<void> {
    await this.docker('run', '-d', '--name', name, ...flags, this.image, 'sh', '-c', script);
  }

  /** Output of a container that is gone afterwards; a failure is an error. */
  once(script: string, ...flags: string[]): Promise<string> {
    return this.docker('run', '--rm', ...flags, this.image, 'sh', '-c', script);
  }

  async inspect(name: string, format: string): Promise<string> {
    return (await this.docker('inspect', '-f', format, name)).trimEnd();
  }

  async pidOf(name: string): Promise<number> {
    return Number(await this.inspect(name, '{{.State.Pid}}'));
  }

  /** Waits until it is "exited", "running", …. */
  becomes(name: string, status: string): Promise<void> {
    return until(
      `${name} is ${status}`,
      async () => (await this.inspect(name, '{{.State.Status}}')) === status,
    );
  }

  /** A file of its cgroup, of the controller's own hierarchy or of version 2. */
  async cgroupFile(name: string, controller: string, v1: string, v2: string): Promise<string> {
    const lines = (await readFile(`/proc/${await this.pidOf(name)}/cgroup`, 'utf8')).split('\n');
    const own = lines
      .map((line) => line.split(':'))
      .find((parts) => parts[1]?.split(',').includes(controller));
    const path = own?.slice(2).join(':') ?? lines.find((line) => line.startsWith('0::'))?.slice(3) ?? '';
    const above = own === undefined ? '/sys/fs/cgroup' : join('/sys/fs/cgroup', controller);
    return (await readFile(join(above, path, own === undefined ? v2 : v1), 'utf8')).trim();
  }

  /** What a client shows in a terminal of 33 rows and 101 columns. */
  async inTerminal(...args: string[]): Promise<string> {
    const words = [this.#binary, ...args].map((word) => `'${word}'`).join(' ');
    const line = `stty rows 33 cols 101; ${words}`;
    const options = { keepInputOpen: true, env: this.engine.env, timeoutMs: 30_000 };
    return (await attempt('script', ['-qec', line, '/dev/null'], options)).stdout;
  }

  talk(...args: string[]): Talk {
    const child = spawn(this.#binary, args, { stdio: 'pipe', env: { ...process.env, ...this.engine.env } });
    return new ChildTalk(child, args.join(' '));
  }

  /** A list of the daemon's own, by ctr, without its heading. */
  async stored(noun: 'content' | 'snapshots' | 'leases' | 'images' | 'containers'): Promise<string[]> {
    const list = await run('ctr', ['-a', this.gantry.address, '-n', namespace, noun, 'ls']);
    return list
      .split('\n')
      .slice(1)
      .filter((line) => line !== '');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.engine[Symbol.asyncDispose]();
    await this.gantry[Symbol.asyncDispose]();
    await this.registry[Symbol.asyncDispose]();
  }
}

class ChildTalk implements Talk {
  readonly ended: Talk['ended'];
  readonly #child: ChildProcess;
  readonly #what: string;
  #output = '';

  constructor(child: ChildProcess, what: string) {
    this.#child = child;
    this.#what = what;
    for (const stream of [child.stdout, child.stderr])
      stream?.setEncoding('utf8').on('data', (chunk: string) => {
        this.#output += chunk;
      });
    child.stdin?.on('error', () => {});
    this.ended = new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (status) => resolve({ status, output: this.#output }));
    });
  }

  says(pattern: RegExp): Promise<void> {
    return until(`docker ${this.#what} says ${pattern}`, () => pattern.test(this.#output));
  }

  write(text: string): void {
    this.#child.stdin?.write(text);
  }

  endInput(): void {
    this.#child.stdin?.end();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.ended;
  }
}
