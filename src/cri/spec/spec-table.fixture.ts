/** A table of a field each row: what is asked, what is looked at in the spec, and what is there or how it is refused. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { MessageInitShape } from '@bufbuild/protobuf';
import { hasCode } from '../../base/errors.ts';
import type { RuntimeSpec } from '../../oci/runtime-spec.ts';
import type { LinuxContainerSecurityContextSchema } from '../../wire/gen/runtime/v1/container_pb.js';
import { type SpecChanges, testContainer } from './spec.fixture.ts';

export interface Row {
  readonly field: string;
  /** Of the container's security context. */
  readonly words?: MessageInitShape<typeof LinuxContainerSecurityContextSchema>;
  readonly changes?: SpecChanges;
  readonly see?: (spec: RuntimeSpec) => unknown;
  readonly is?: unknown;
  readonly refused?: RegExp;
}

export const privilegedPod = { linux: { securityContext: { privileged: true } } };

export function testRows(name: string, rows: readonly Row[]): void {
  void describe(name, () => {
    for (const { field, words, changes, see, is, refused } of rows)
      void it(field, async () => {
        const container = words && { linux: { securityContext: words } };
        const made = testContainer({ ...changes, ...(container && { container }) });
        if (refused === undefined) return assert.deepEqual(see?.((await made).spec), is);
        return assert.rejects(made, (error: Error) => {
          assert.match(error.message, refused);
          return hasCode(error, 'InvalidArgument');
        });
      });
  });
}
