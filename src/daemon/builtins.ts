/**
 * The plugins of this build: the one place where implementations are named. Ids and types are containerd's own
 * (`bolt` too, although the database is SQLite: clients and settings know that name).
 */
import type { Plugin } from '../core/plugins/plugin.ts';
import { check } from './plugins/check.ts';
import { cri } from './plugins/cri.ts';
import type { BuiltinDependencies } from './plugins/dependencies.ts';
import { gc } from './plugins/gc.ts';
import { mounts } from './plugins/mounts.ts';
import { nri } from './plugins/nri.ts';
import { observability } from './plugins/observability.ts';
import { opt } from './plugins/opt.ts';
import { proxies } from './plugins/proxies.ts';
import { restart } from './plugins/restart.ts';
import { runtime } from './plugins/runtime.ts';
import { servers } from './plugins/servers.ts';
import { services } from './plugins/services.ts';
import { snapshots } from './plugins/snapshots.ts';
import { storage } from './plugins/storage.ts';
import { transfer } from './plugins/transfer.ts';

export const builtins = (dependencies: BuiltinDependencies): Plugin[] => [
  ...opt(),
  ...storage(dependencies),
  ...snapshots(dependencies),
  ...proxies(dependencies),
  ...runtime(dependencies),
  ...restart(dependencies),
  ...nri(dependencies),
  ...transfer(dependencies),
  ...mounts(dependencies),
  ...gc(dependencies),
  ...check(dependencies),
  ...services(dependencies),
  ...cri(dependencies),
  ...observability(dependencies),
  ...servers(dependencies),
];
