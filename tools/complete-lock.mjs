/**
 * `node tools/complete-lock.mjs`: gives package-lock.json the optional packages of other systems that the registry in use
 * did not have when the lock was made. `npm ci` refuses a lock without them, although it never installs them here.
 * To be run after `npm install NAME`; the tidy test says when it is due.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';

const file = path.join(import.meta.dirname, '../package-lock.json');
const systems = [
  'android',
  'darwin',
  'linux',
  'win32',
  'freebsd',
  'netbsd',
  'openbsd',
  'openharmony',
  'sunos',
  'aix',
];
/** As packages spell them, to what npm compares with. */
const processors = {
  arm: 'arm',
  arm64: 'arm64',
  armv7: 'arm',
  ia32: 'ia32',
  loong64: 'loong64',
  mips64el: 'mips64el',
  ppc64: 'ppc64',
  riscv64: 'riscv64',
  s390x: 's390x',
  x64: 'x64',
};

const lock = JSON.parse(readFileSync(file, 'utf8'));
for (const [place, entry] of Object.entries(lock.packages)) {
  if (place === '') continue;
  for (const [name, version] of Object.entries(entry.optionalDependencies ?? {})) {
    if (lock.packages[`node_modules/${name}`] !== undefined) continue;
    const words = name.split('/').at(-1).split('-');
    const system = words.find((word) => systems.includes(word));
    const processor = words.find((word) => Object.hasOwn(processors, word));
    if (system === undefined || processor === undefined) {
      console.error(
        `complete-lock: the system of ${name} cannot be told from its name; write it into the lock by hand`,
      );
      process.exitCode = 1;
      continue;
    }
    lock.packages[`node_modules/${name}`] = {
      version,
      cpu: [processors[processor]],
      ...(entry.dev === true && { dev: true }),
      ...(words.includes('musl') && { libc: ['musl'] }),
      ...(words.includes('gnu') && { libc: ['glibc'] }),
      optional: true,
      os: [system],
    };
  }
}
lock.packages = Object.fromEntries(Object.entries(lock.packages).toSorted(([a], [b]) => (a < b ? -1 : 1)));
writeFileSync(file, `${JSON.stringify(lock, undefined, 2)}\n`);
