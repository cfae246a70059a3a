/** gantry.runtime.v1: what containerd's task service cannot say. */
import { create } from '@bufbuild/protobuf';
import { requireNamespace } from '../base/context.ts';
import type { TaskManager } from '../core/runtime/task-manager.ts';
import { Runtime, StuckTaskSchema } from '../wire/gen/gantry/runtime/v1/runtime_pb.js';
import { type ServedService, serve } from '../wire/service.ts';
import { timestampOf } from '../wire/timestamps.ts';

export interface RuntimeServiceDependencies {
  readonly tasks: Pick<TaskManager, 'stuck'>;
}

export const runtimeService = ({ tasks }: RuntimeServiceDependencies): ServedService =>
  serve(Runtime, {
    listStuck: async (ctx) => ({
      tasks: tasks.stuck(requireNamespace(ctx)).map((stuck) =>
        create(StuckTaskSchema, {
          containerId: stuck.id,
          execId: stuck.execId,
          call: stuck.call,
          since: timestampOf(stuck.startedAt),
          ageMs: BigInt(stuck.ageMs),
          deadlineMs: BigInt(stuck.deadlineMs),
          step: stuck.step,
          reason: stuck.reason,
        }),
      ),
    }),
  });
