/** grpc.health.v1: a daemon that answers is serving. */
import { absent } from '../base/errors.ts';
import { Health, HealthCheckResponse_ServingStatus as Status } from '../wire/gen/grpc/health/v1/health_pb.js';
import { type ServedService, serve } from '../wire/service.ts';

export interface HealthServiceDependencies {
  /** Full names of the services that can be asked for; "" is the daemon. */
  readonly services: readonly string[];
}

export function healthService({ services }: HealthServiceDependencies): ServedService {
  const known = new Set(['', ...services]);
  return serve(Health, {
    check: async (_ctx, { service }) => {
      if (!known.has(service)) throw absent('unknown service');
      return { status: Status.SERVING };
    },
    async *watch(ctx, { service }) {
      yield { status: known.has(service) ? Status.SERVING : Status.SERVICE_UNKNOWN };
      // The status never changes; the stream stays open until the client or the daemon ends it.
      await new Promise<void>((resolve) => {
        if (ctx.signal.aborted) resolve();
        ctx.signal.addEventListener('abort', () => resolve(), { once: true });
      });
    },
  });
}
