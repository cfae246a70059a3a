/** A mount manager over the real database and the real kernel, in a directory of its own. Needs root. */
import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { mkdtemp, realpath, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type NamespacedContext } from '../../base/context.ts';
import { type ErrorCode, hasCode } from '../../base/errors.ts';
import type { Labels } from '../../base/labels.ts';
import type { Mount } from '../../platform/mount.ts';
import { selectPlatform } from '../../platform/select.ts';
import { MetadataMountStore } from '../metadata/mounts.ts';
import { StoreFixture } from '../metadata/store.fixture.ts';
import { LocalMountManager } from './local-mount-manager.ts';

export const platform = await selectPlatform();

export const bind = (source: string, ...options: string[]): Mount => ({
  type: 'bind',
  source,
  target: '',
  options: ['rbind', ...options],
});

export class MountLab implements AsyncDisposable {
  readonly directory: string;
  readonly fixture: StoreFixture;
  readonly store: MetadataMountStore;
  manager: LocalMountManager;

  private constructor(directory: string, fixture: StoreFixture) {
    this.directory = directory;
    this.fixture = fixture;
    this.store = new MetadataMountStore(fixture.store);
    this.manager = this.#make('this boot');
  }

  static async make(): Promise<MountLab> {
    return new MountLab(
      await realpath(await mkdtemp(join(tmpdir(), 'gantry-mounts-'))),
      await StoreFixture.make(),
    );
  }

  get ctx(): NamespacedContext {
    return this.fixture.ctx;
  }

  get root(): string {
    return join(this.directory, 'root');
  }

  activate(name: string, mounts: readonly Mount[], labels: Labels = {}, ctx = this.ctx, temporary = false) {
    return this.manager.activate(ctx, { name, mounts, labels, temporary });
  }

  /** As another daemon on the same root finds it. */
  async restart(boot = 'this boot'): Promise<void> {
    this.fixture.store.collectibles.length = 0;
    this.manager = this.#make(boot);
    await this.manager.recover(this.ctx);
  }

  async names(): Promise<string[]> {
    return (await Array.fromAsync(this.manager.list(this.ctx, []))).map(({ name }) => name);
  }

  mounted(): string[] {
    return platform.mounts
      .list()
      .map(({ mountPoint }) => mountPoint)
      .filter((point) => point.startsWith(this.directory));
  }

  folder(name: string): string {
    const path = join(this.root, name);
    mkdirSync(path, { recursive: true });
    return path;
  }

  #make(boot: string): LocalMountManager {
    mkdirSync(this.root, { recursive: true });
    const manager = new LocalMountManager(
      { store: this.store, platform },
      { placesDir: join(this.directory, 'state', 't'), allowedRoots: [this.root], boot },
    );
    this.fixture.store.collectibles.push(manager);
    return manager;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { number } of this.store.records()) await this.store.forget(number);
    await this.manager.free(this.ctx);
    assert.deepEqual(this.mounted(), []);
    await this.fixture[Symbol.asyncDispose]();
    await rm(this.directory, { recursive: true });
  }
}

export const fails = (promise: Promise<unknown>, code: ErrorCode, text?: RegExp): Promise<void> =>
  assert.rejects(promise, (error) => {
    assert.ok(hasCode(error, code), String(error));
    if (text !== undefined) assert.match(String(error), text);
    return true;
  });
