/** Version. The kubelet writes name and version into the node's status, where tools look for containerd. */
import type { MessageInitShape } from '@bufbuild/protobuf';
import type { VersionResponseSchema } from '../wire/gen/runtime/v1/status_pb.js';

/** Of the kubelet's runtime API, which has said this from its beginning on. */
const kubeletApiVersion = '0.1.0';

export const runtimeVersion = (version: string): MessageInitShape<typeof VersionResponseSchema> => ({
  version: kubeletApiVersion,
  runtimeName: 'containerd',
  runtimeVersion: version,
  runtimeApiVersion: 'v1',
});
