/**
 * The directory into which `ctr install` puts programs and libraries out of images. Its `bin` comes first on our PATH, so
 * that shims, runc and other programs are found there; what we start inherits it.
 */
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import type { Plugin } from '../../core/plugins/plugin.ts';
import { withNodeErrors } from '../../platform/errno.ts';
import { definePlugin } from './define-plugin.ts';

export const opt = (): Plugin[] => [
  definePlugin({
    type: 'io.containerd.internal.v1',
    id: 'opt',
    requires: [],
    config: (table) => {
      const directory = table.string('path', '/opt/containerd');
      if (!path.isAbsolute(directory))
        throw table.wrong('path', `must be absolute, not ${JSON.stringify(directory)}`);
      return directory;
    },
    init: ({ config: directory, meta }) => {
      const [bin, lib] = [path.join(directory, 'bin'), path.join(directory, 'lib')];
      withNodeErrors(() => {
        for (const each of [bin, lib]) mkdirSync(each, { recursive: true, mode: 0o711 });
      });
      putFirst('PATH', bin);
      putFirst('LD_LIBRARY_PATH', lib);
      meta.exports['path'] = directory;
      return {};
    },
  }),
];

/** In a list of directories as environ(7) has them. An empty entry would mean the working directory. */
function putFirst(name: string, directory: string): void {
  const others = (process.env[name] ?? '').split(':').filter((each) => each !== '' && each !== directory);
  process.env[name] = [directory, ...others].join(':');
}
