/** Every command of `ctr snapshots`, over both snapshotters: ours against the peer. */
import { compareWithPeer, type Scenario, step } from './harness.ts';

const image = 'REGISTRY/sample/busybox:latest';

const scenarioOf = (snapshotter: string): Scenario => {
  const snapshots = (line: string, options: Parameters<typeof step>[1] = {}) =>
    step(`snapshots --snapshotter ${snapshotter} ${line}`, options);
  return {
    name: `${snapshotter} snapshots`,
    steps: [
      // The peer's transfer service unpacks for its default snapshotter only.
      step(`images pull --plain-http ${image}`, { compare: 'status' }),
      step(`images ls`, { unordered: true, capture: { MANIFEST: /(sha256:[0-9a-f]{64})/ } }),
      step(`snapshots unpack --snapshotter ${snapshotter} <MANIFEST>`),
      snapshots('ls', { unordered: true, capture: { TOP: /(sha256:[0-9a-f]{64}) +Committed/ } }),
      snapshots('info <TOP>'),
      snapshots('usage -b <TOP>'),
      snapshots('usage', { compare: 'status' }),
      snapshots('prepare work <TOP>'),
      snapshots('prepare work <TOP>'),
      snapshots('prepare --mounts more <TOP>', { compare: 'status' }),
      snapshots('prepare --target TEMP/target mounted <TOP>'),
      snapshots('mounts TEMP/target work'),
      snapshots('mounts TEMP/target <TOP>', { compare: 'class' }),
      snapshots('view look <TOP>'),
      snapshots('view look <TOP>'),
      snapshots('view again absent', { compare: 'class' }),
      snapshots('diff work', { compare: 'status' }),
      snapshots('diff look <TOP>', { compare: 'status' }),
      snapshots('diff absent'),
      snapshots('label work a=b', { unordered: true }),
      snapshots('label work a='),
      snapshots('label absent a=b'),
      snapshots('commit kept work'),
      snapshots('commit kept work'),
      snapshots('commit other absent'),
      snapshots('commit other look', { compare: 'status' }),
      snapshots('info kept'),
      snapshots('info absent'),
      snapshots('usage absent'),
      snapshots('tree', { unordered: true }),
      snapshots('rm <TOP>'),
      snapshots('rm kept look'),
      snapshots('rm absent'),
      step(`snapshots unpack --snapshotter ${snapshotter} <MANIFEST>`),
      step(`snapshots unpack --snapshotter ${snapshotter} sha256:00`),
      snapshots('ls', { unordered: true }),
      snapshots('prepare'),
      snapshots('view'),
      snapshots('commit'),
      snapshots('info'),
      snapshots('mounts'),
    ],
  };
};

compareWithPeer('ctr snapshots', [scenarioOf('overlayfs'), scenarioOf('native')]);
