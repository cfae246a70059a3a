/** Calls of containerd.services.snapshots.v1 over overlayfs and native. */
import { Leases } from '../../../src/wire/gen/containerd/services/leases/v1/leases_pb.js';
import { Snapshots } from '../../../src/wire/gen/containerd/services/snapshots/v1/snapshots_pb.js';
import { type Api, type ApiCall, all, call, classLost, leaseNamed, longLabel } from './api-harness.ts';

const snapshots = (api: Api) => api.client(Snapshots);
const keys = async (api: Api, snapshotter: string, filters: string[]): Promise<string[]> =>
  (await all(snapshots(api).list({ snapshotter, filters })))
    .flatMap(({ info }) => info.map(({ name }) => name))
    .sort();

const keyNamed = 'ours names the key as the client knows it';

const callsOf = (snapshotter: string): ApiCall[] => {
  const ofView =
    snapshotter === 'native'
      ? { differs: 'the peer looks at the disk first, and fails' }
      : { words: keyNamed };
  // Overlayfs comes first, and finds that the peer has no snapshot at all.
  const ofAbsent = snapshotter === 'native' ? {} : { words: 'the peer tells that it has no snapshot yet' };
  const of = (more: object) => ({ snapshotter, ...more });
  const update = (api: Api, name: string, labels: Record<string, string>, paths?: string[]) =>
    snapshots(api).update({
      snapshotter,
      info: { name, labels },
      ...(paths !== undefined && { updateMask: { paths } }),
    });
  return [
    call('outside of a namespace', (api) => api.outside.client(Snapshots).stat(of({ key: 'k' }))),
    call('stat of an absent one', (api) => snapshots(api).stat(of({ key: 'absent' }))),
    call('stat of no key', (api) => snapshots(api).stat(of({ key: '' }))),
    call('mounts of an absent one', (api) => snapshots(api).mounts(of({ key: 'absent' }))),
    call('usage of an absent one', (api) => snapshots(api).usage(of({ key: 'absent' }))),
    call('remove of an absent one', (api) => snapshots(api).remove(of({ key: 'absent' }))),
    call('remove of no key', (api) => snapshots(api).remove(of({ key: '' }))),
    call(
      'commit of an absent one',
      (api) => snapshots(api).commit(of({ name: 'n', key: 'absent' })),
      ofAbsent,
    ),
    call('update of an absent one', (api) => update(api, 'absent', { a: 'b' })),
    call('prepare on an absent parent', (api) => snapshots(api).prepare(of({ key: 'k', parent: 'absent' }))),
    call('view on an absent parent', (api) => snapshots(api).view(of({ key: 'k', parent: 'absent' }))),
    call('prepare with a long label', (api) => snapshots(api).prepare(of({ key: 'k', labels: longLabel }))),
    call('prepare', (api) => snapshots(api).prepare(of({ key: 'k', labels: { a: 'b', e: '' } }))),
    call('prepare again', (api) => snapshots(api).prepare(of({ key: 'k' }))),
    call('view of a key in use', (api) => snapshots(api).view(of({ key: 'k' }))),
    call('prepare on an active parent', (api) => snapshots(api).prepare(of({ key: 'k2', parent: 'k' })), {
      words: keyNamed,
    }),
    call('stat of an active one', (api) => snapshots(api).stat(of({ key: 'k' }))),
    call('mounts of an active one', (api) => snapshots(api).mounts(of({ key: 'k' }))),
    call('commit with a long label', (api) =>
      snapshots(api).commit(of({ name: 'n', key: 'k', labels: longLabel })),
    ),
    call('commit', (api) => snapshots(api).commit(of({ name: 'n', key: 'k', labels: { c: 'd' } }))),
    call('commit again', (api) => snapshots(api).commit(of({ name: 'n', key: 'k' }))),
    call('commit of the committed', (api) => snapshots(api).commit(of({ name: 'n2', key: 'n' })), {
      words: keyNamed,
    }),
    call('mounts of a committed one', (api) => snapshots(api).mounts(of({ key: 'n' })), { words: keyNamed }),
    call('stat of a committed one', (api) => snapshots(api).stat(of({ key: 'n' }))),
    call('prepare of a name in use', (api) => snapshots(api).prepare(of({ key: 'n' }))),
    call('prepare on it', (api) => snapshots(api).prepare(of({ key: 'top', parent: 'n' }))),
    call('commit to a name in use', (api) => snapshots(api).commit(of({ name: 'n', key: 'top' }))),
    call('view on it', (api) => snapshots(api).view(of({ key: 'look', parent: 'n', labels: { l: 'm' } }))),
    call('commit of a view', (api) => snapshots(api).commit(of({ name: 'v', key: 'look' })), ofView),
    call('stat of a view', (api) => snapshots(api).stat(of({ key: 'look' }))),
    call('remove with children', (api) => snapshots(api).remove(of({ key: 'n' }))),
    call('update of one label', (api) => update(api, 'look', { x: 'y', z: 'w' }, ['labels.x'])),
    call('update of a label to nothing', (api) => update(api, 'look', {}, ['labels.l'])),
    call('update of another field', (api) => update(api, 'look', {}, ['kind'])),
    call('update with a long label', (api) => update(api, 'look', longLabel, ['labels'])),
    call('update of all labels', (api) => update(api, 'look', { only: 'this' })),
    call('update of a label of the snapshotter', (api) =>
      update(api, 'look', { 'containerd.io/snapshot/z': '1' }, ['labels']),
    ),
    call('stat after updates', (api) => snapshots(api).stat(of({ key: 'look' }))),
    call('list', (api) => keys(api, snapshotter, [])),
    call('filter by kind', (api) => keys(api, snapshotter, ['kind==view'])),
    call('filter by parent', (api) => keys(api, snapshotter, ['parent==n'])),
    call('filter by name and label', (api) => keys(api, snapshotter, ['name==n,labels.c==d'])),
    call('filter that does not parse', (api) => keys(api, snapshotter, ['name=']), { differs: classLost }),
    call('what exists by its label', (api) =>
      snapshots(api).prepare(of({ key: 'again', labels: { 'containerd.io/snapshot.ref': 'n' } })),
    ),
    call(
      'under an unknown lease',
      (api) => snapshots(api).prepare(of({ key: 'leased' }), { lease: 'no-such-lease' }),
      { words: leaseNamed },
    ),
    call(
      'under a lease',
      async (api) => {
        const id = `${snapshotter}-lease`;
        await api.client(Leases).create({ id });
        await snapshots(api).prepare(of({ key: 'leased' }), { lease: id });
        await snapshots(api).commit(of({ key: 'leased', name: 'leased-n' }), { lease: id });
        await snapshots(api).prepare(of({ key: 'leased-2' }), { lease: id });
        await snapshots(api).remove(of({ key: 'leased-2' }));
        return api.client(Leases).listResources({ id });
      },
      { differs: 'ours takes what is removed out of the leases, so that they list what there is' },
    ),
    call('cleanup', (api) => snapshots(api).cleanup(of({})), {
      differs: 'the peer does not hand the call on to its snapshotters',
    }),
    call('the rest goes', async (api) => {
      for (const key of ['look', 'top', 'leased-n', 'n']) await snapshots(api).remove(of({ key }));
      return keys(api, snapshotter, []);
    }),
    call('parent is deleted', async (api) => snapshots(api).prepare(of({ key: 'late', parent: 'n' }))),
  ].map((one) => ({ ...one, name: `${snapshotter}: ${one.name}` }));
};

export const snapshotCalls: readonly ApiCall[] = [
  call('no snapshotter', (api) => snapshots(api).prepare({ key: 'k' })),
  call('no snapshotter to list', (api) => all(snapshots(api).list({}))),
  call('an unknown snapshotter', (api) => snapshots(api).prepare({ snapshotter: 'zz', key: 'k' })),
  call('no key', (api) => snapshots(api).prepare({ snapshotter: 'native', key: '' }), { differs: classLost }),
  ...callsOf('overlayfs'),
  ...callsOf('native'),
];
