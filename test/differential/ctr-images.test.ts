/** Images that are mounted, converted, measured, labelled and pruned by unmodified ctr: ours against the peer. */
import { compareWithPeer, type Step, step } from './harness.ts';

const image = 'REGISTRY/sample/busybox:latest';
const pull = step(`images pull --plain-http ${image}`, { compare: 'status' });

const mountSteps: readonly Step[] = [
  step(`images mount ${image} TEMP/absent`),
  step(`images mount ${image} TEMP`, { tree: '', write: 'refused' }),
  step(`images mount ${image} TEMP`, { compare: 'class' }),
  step('images unmount TEMP'),
  step('images unmount --rm TEMP'),
  step(`images mount --rw ${image} TEMP`, { write: 'etc/new' }),
  step('snapshots ls', { unordered: true }),
  step('snapshots diff TEMP', { compare: 'status' }),
  step('images unmount --rm TEMP', { tree: '' }),
  step('snapshots ls', { unordered: true }),
  step('images mount absent:image TEMP'),
  step(`images mount --platform linux/riscv64 ${image} TEMP`, { compare: 'class' }),
  step(`images mount --snapshotter absent ${image} TEMP`),
];

compareWithPeer('ctr images', [
  { name: 'mount', steps: [pull, ...mountSteps] },
  {
    name: 'the rest',
    steps: [
      pull,
      step(`images usage ${image}`),
      step('images usage absent:image'),
      step(`images usage --snapshotter absent ${image}`),
      step('images check', { unordered: true }),
      step('images check -q'),
      step('images check name==absent'),
      step(`images inspect ${image}`, { compare: 'status' }),
      step('images inspect absent:image', { compare: 'class' }),
      step(`images label ${image} a=b c=d`, { unordered: true }),
      step(`images label --replace-all ${image} e=f`, { unordered: true }),
      { args: ['images', 'label', image, `long=${'v'.repeat(4100)}`] },
      step('images label absent:image a=b'),
      step('images label'),
      step(`images convert --oci ${image} converted:oci`),
      step(`images convert --uncompress --oci ${image} converted:plain`),
      step('images convert absent:image converted:no'),
      step(`images convert --platform linux/riscv64 ${image} converted:other`, { compare: 'class' }),
      step('images ls', { unordered: true }),
      step('content ls -q', { unordered: true }),
      step('images tag converted:oci converted:again'),
      step('images export TEMP/out.tar absent:image'),
      step('images export TEMP/no/such/dir.tar converted:oci', { compare: 'class' }),
      step('images import TEMP/absent.tar', { compare: 'class' }),
      step('images prune'),
      step('images prune --all', { unordered: true }),
      step('images ls'),
      step('images push --plain-http REGISTRY/SELF/x:1 absent:image', { compare: 'status' }),
      step('images rm absent:image'),
      step('images rm'),
      step('images pull'),
      step('images pull --plain-http bad//reference', { compare: 'status' }),
    ],
  },
]);
