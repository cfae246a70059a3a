/** The table of the security context: namespaces. */
import type { RuntimeSpec } from '../../oci/runtime-spec.ts';
import { NamespaceMode } from '../../wire/gen/runtime/v1/common_pb.js';
import { testRows } from './spec-table.fixture.ts';

const pid = ({ linux }: RuntimeSpec) => linux?.namespaces?.find(({ type }) => type === 'pid');
const namespace =
  (kind: string) =>
  ({ linux }: RuntimeSpec) =>
    linux?.namespaces?.find(({ type }) => type === kind)?.path;
const userns = (hostId = 100_000, containerId = 0) => ({
  mode: NamespaceMode.POD,
  uids: [{ hostId, containerId, length: 65_536 }],
  gids: [{ hostId, containerId, length: 65_536 }],
});
const podWithUserns = { linux: { securityContext: { namespaceOptions: { usernsOptions: userns() } } } };

testRows('security context: namespaces', [
  { field: 'namespace_options.pid: default', see: pid, is: { type: 'pid', path: '/ns/pid' } },
  {
    field: 'namespace_options.pid: CONTAINER',
    words: { namespaceOptions: { pid: NamespaceMode.CONTAINER } },
    see: pid,
    is: { type: 'pid' },
  },
  {
    field: 'namespace_options.pid: TARGET',
    words: { namespaceOptions: { pid: NamespaceMode.TARGET, targetId: 't' } },
    changes: { request: { targetPid: '/ns/target' } },
    see: pid,
    is: { type: 'pid', path: '/ns/target' },
  },
  {
    field: 'namespace_options.pid: TARGET that is not there',
    words: { namespaceOptions: { pid: NamespaceMode.TARGET, targetId: 't' } },
    refused: /container "t", which is not running/,
  },
  { field: 'namespace_options.network', see: namespace('network'), is: '/ns/net' },
  { field: 'namespace_options.ipc', see: namespace('ipc'), is: '/ns/ipc' },
  {
    field: 'namespace_options.ipc: NODE',
    words: { namespaceOptions: { ipc: NamespaceMode.NODE } },
    see: ({ mounts }) => mounts?.find(({ destination }) => destination === '/dev/shm')?.source,
    is: '/dev/shm',
  },
  {
    field: 'userns_options',
    words: { namespaceOptions: { usernsOptions: userns() } },
    changes: { pod: podWithUserns },
    see: (spec) => [
      namespace('user')(spec),
      spec.linux?.uidMappings,
      spec.mounts?.find(({ destination }) => destination === '/etc/hosts')?.gidMappings,
    ],
    is: [
      '/ns/user',
      [{ containerID: 0, hostID: 100_000, size: 65_536 }],
      [{ containerID: 0, hostID: 100_000, size: 65_536 }],
    ],
  },
  {
    field: 'userns_options: NODE, in the host’s network too',
    words: { namespaceOptions: { network: NamespaceMode.NODE, usernsOptions: { mode: NamespaceMode.NODE } } },
    changes: {
      pod: {
        linux: {
          securityContext: {
            namespaceOptions: { network: NamespaceMode.NODE, usernsOptions: { mode: NamespaceMode.NODE } },
          },
        },
      },
    },
    see: (spec) => [
      namespace('user')(spec),
      spec.mounts?.find(({ destination }) => destination === '/sys')?.type,
    ],
    is: [undefined, 'sysfs'],
  },
  {
    field: 'userns_options: not the pod’s',
    words: { namespaceOptions: { usernsOptions: userns(7) } },
    changes: { pod: podWithUserns },
    refused: /must be that of its pod/,
  },
  { field: 'userns_options: missing', changes: { pod: podWithUserns }, refused: /must be that of its pod/ },
  {
    field: 'userns_options: 0 not mapped',
    words: { namespaceOptions: { usernsOptions: userns(1, 5) } },
    refused: /must begin at container id 0/,
  },
  {
    field: 'userns_options: no mapping',
    words: { namespaceOptions: { usernsOptions: { ...userns(), gids: [] } } },
    refused: /exactly one gid mapping, not 0/,
  },
  {
    field: 'userns_options: CONTAINER',
    words: { namespaceOptions: { usernsOptions: { ...userns(), mode: NamespaceMode.CONTAINER } } },
    refused: /mode CONTAINER is not supported/,
  },
  {
    field: 'userns_options: runtime without',
    words: { namespaceOptions: { usernsOptions: userns() } },
    changes: { pod: podWithUserns, runtime: { idmapMounts: false } },
    refused: /idmapped, which the runtime cannot do/,
  },
]);
