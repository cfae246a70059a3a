/**
 * How a call goes on when the shim dies under it: the next shim has taken over the containers by the time it answers, and
 * what was asked of the dead one is asked of it in the way that cannot do harm twice.
 */
import { ContainerdError, hasCode, unavailable } from '../../../base/errors.ts';
import { Status } from '../../../wire/gen/containerd/types/task/task_pb.js';
import type { CallOptions } from '../../../wire/service.ts';
import type { BoundedMethod } from '../calls/deadlines.ts';
import type { ShimConnection, TaskClient } from './shim-connection.ts';

export type Request<M extends BoundedMethod> = Parameters<TaskClient[M]>[0];
export type Answer<M extends BoundedMethod> = Awaited<ReturnType<TaskClient[M]>>;

/** A delete whose answer was lost: the shim that took over does not have the process any more. */
export class DeletedMeanwhile extends ContainerdError {}

/**
 * Asks the shim that took over from one that died during the call. Errors: what it answers; DeletedMeanwhile;
 * Unavailable for what cannot be repeated.
 */
export async function callAgain<M extends BoundedMethod>(
  connection: ShimConnection,
  method: M,
  request: Request<M>,
  options: CallOptions,
): Promise<Answer<M>> {
  const again = (): Promise<Answer<M>> => connection.call(method, request, options);
  const { id = '', execId = '' } = request as { id?: string; execId?: string };
  const state = () => connection.call('state', { id, execId }, options);
  const pidOnly = (pid: number): Answer<M> => ({ pid }) as Answer<M>;
  const unlessDone = async (code: ContainerdError['code']): Promise<Answer<M>> => {
    try {
      return await again();
    } catch (error) {
      if (hasCode(error, code)) return {} as Answer<M>;
      throw error;
    }
  };
  const unlessIn = async (status: Status): Promise<Answer<M>> =>
    (await state()).status === status ? ({} as Answer<M>) : again();

  switch (method) {
    case 'create': {
      const held = await state().catch((error: unknown) => {
        if (hasCode(error, 'NotFound')) return undefined;
        throw error;
      });
      return held === undefined ? again() : pidOnly(held.pid);
    }
    case 'start': {
      const { status, pid } = await state();
      if (status === Status.CREATED) return again();
      if (pid === 0) throw unavailable(`the shim died while it started ${execId || id}, which did not start`);
      return pidOnly(pid);
    }
    case 'delete':
      try {
        return await again();
      } catch (error) {
        if (!hasCode(error, 'NotFound')) throw error;
        throw new DeletedMeanwhile('NotFound', (error as Error).message, { cause: error });
      }
    case 'kill':
      // The signal has arrived, and the process ended of it.
      return unlessDone('NotFound');
    case 'exec':
      return unlessDone('AlreadyExists');
    case 'pause':
      return unlessIn(Status.PAUSED);
    case 'resume':
      return unlessIn(Status.RUNNING);
    case 'checkpoint':
      throw unavailable(
        'the shim died during a checkpoint: what is in the image path is not whole, take it again',
      );
    default:
      return again();
  }
}
