/** Plugin types with what their instances are, so that `get` and `all` are typed. */
import type { PluginTypeToken } from '../../core/plugins/plugin.ts';
import type { ServedService } from '../../wire/service.ts';
import type { UnixListener } from '../../wire/unix-listener.ts';

export const grpcType: PluginTypeToken<readonly ServedService[]> = { type: 'io.containerd.grpc.v1' };
export const ttrpcType: PluginTypeToken<readonly ServedService[]> = { type: 'io.containerd.ttrpc.v1' };
export const serverType: PluginTypeToken<UnixListener> = { type: 'io.containerd.server.v1' };
