/** Commands of ctr that nothing else here needs, by unmodified ctr: ours against the peer. */
import { compareWithPeer, step } from './harness.ts';

const image = 'REGISTRY/sample/busybox:latest';

compareWithPeer('ctr for the rest', [
  {
    name: 'programs out of an image',
    steps: [
      step(`images pull --plain-http ${image}`, { compare: 'status' }),
      step(`install --path TEMP/opt ${image}`),
      step(`install --path TEMP/opt ${image}`),
      step(`install --replace --libs --path TEMP/opt ${image}`),
      step('install --path TEMP/opt absent:latest'),
      step('install absent:latest'),
      step('install'),
    ],
  },
  {
    name: 'blobs by digest',
    steps: [
      step(`content fetch --plain-http ${image}`, { compare: 'status' }),
      step('content ls -q', { compare: 'status', capture: { blob: /^(sha256:\w+)$/m } }),
      step(`content fetch-blob --plain-http ${image} sha256:${'0'.repeat(64)}`, { compare: 'status' }),
      step('content fetch-blob', { compare: 'status' }),
    ],
  },
  {
    name: 'what snapshots take',
    steps: [
      step('snapshots prepare empty'),
      step('snapshots usage empty', { compare: 'status' }),
      step('snapshots usage -b empty', { compare: 'status' }),
      step('snapshots usage absent', { compare: 'status' }),
      step('snapshots delete empty'),
    ],
  },
  {
    name: 'names of namespaces',
    steps: [
      step('namespaces create SELF'),
      step('namespaces ls', { compare: 'status' }),
      step('namespaces ls -q', { compare: 'status' }),
      step('namespaces remove SELF'),
    ],
  },
]);
