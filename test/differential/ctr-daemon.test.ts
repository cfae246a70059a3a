/** What the daemon says of itself, its namespaces and its leases, by unmodified ctr: ours against the peer. */
import { compareWithPeer, step } from './harness.ts';

compareWithPeer('ctr about the daemon', [
  {
    name: 'itself',
    steps: [
      // Version and revision are each daemon's own.
      step('version', { compare: 'status' }),
      step('info', { compare: 'status' }),
      step('deprecations list'),
      step('deprecations list --format json', { compare: 'shape' }),
      step('plugins ls id==overlayfs', { unordered: true }),
      step('plugins ls -q type==io.containerd.snapshotter.v1,id==native'),
      step('plugins ls -d id==native', { compare: 'status' }),
      step('plugins ls bad===', { compare: 'status' }),
      step('plugins inspect-runtime', { compare: 'status' }),
      step('plugins inspect-runtime --runtime io.containerd.absent.v9'),
      step('events --help', { compare: 'status' }),
    ],
  },
  {
    name: 'namespaces in use',
    steps: [
      step('leases create --id kept'),
      step('content ingest ref', { input: 'in the way' }),
      step('namespaces create SELF'),
      step('namespaces create SELF'),
      step('namespaces label SELF a=b'),
      { args: ['namespaces', 'label', 'SELF', `long=${'v'.repeat(4100)}`], compare: 'status' },
      step('namespaces label SELF'),
      step('namespaces create'),
      step(`namespaces create ${'n'.repeat(77)}`),
      step('namespaces create a--b'),
      step('namespaces remove SELF absent'),
      step('namespaces remove namespaces-in-use-absent'),
      step('namespaces remove'),
    ],
  },
  {
    name: 'leases',
    steps: [
      step('leases create --id one a=b'),
      step('leases create --id one'),
      step('leases create --id two --expires 1h'),
      step('leases create', { compare: 'status' }),
      step('leases ls id==one'),
      step('leases ls -q id==two'),
      // The peer says the class of the error twice.
      step('leases ls bad===', { compare: 'class' }),
      step('leases delete one two'),
      step('leases delete one'),
      step('leases delete --sync one'),
      step('leases delete'),
    ],
  },
  {
    name: 'no namespace',
    steps: [
      { args: ['-n', '', 'images', 'ls'] },
      { args: ['-n', '', 'containers', 'ls'] },
      { args: ['-n', '..', 'images', 'ls'] },
      { args: ['-n', 'a/b', 'content', 'ls'] },
      { args: ['-n', 'n'.repeat(77), 'images', 'ls'] },
    ],
  },
]);
