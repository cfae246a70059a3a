/** containerd.services.version.v1 */
import { Version } from '../wire/gen/containerd/services/version/v1/version_pb.js';
import { type ServedService, serve } from '../wire/service.ts';

export interface VersionServiceDependencies {
  readonly version: string;
  readonly revision: string;
}

export const versionService = ({ version, revision }: VersionServiceDependencies): ServedService =>
  serve(Version, { version: async () => ({ version, revision }) });
