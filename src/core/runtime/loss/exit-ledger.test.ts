/** Which events pass: each exit once, also when it is told by two shims, and every other event. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseNamespace } from '../../../base/identifiers.ts';
import { limits } from '../../../base/limits.ts';
import { packAny } from '../../../wire/any.ts';
import {
  TaskCreateSchema,
  TaskDeleteSchema,
  TaskExecAddedSchema,
  TaskExitSchema,
  TaskStartSchema,
} from '../../../wire/gen/containerd/events/task_pb.js';
import { ExitLedger } from './exit-ledger.ts';

const namespace = parseNamespace('ledger');
const containerId = 'c';
const exit = (id: string, pid: number, exitStatus = 0) => ({
  namespace,
  topic: '/tasks/exit',
  event: packAny(TaskExitSchema, { containerId, id, pid, exitStatus }),
});
const created = { namespace, topic: '/tasks/create', event: packAny(TaskCreateSchema, { containerId }) };
const started = { namespace, topic: '/tasks/start', event: packAny(TaskStartSchema, { containerId }) };
const deleted = { namespace, topic: '/tasks/delete', event: packAny(TaskDeleteSchema, { containerId }) };
const added = (execId: string) => ({
  namespace,
  topic: '/tasks/exec-added',
  event: packAny(TaskExecAddedSchema, { containerId, execId }),
});

test('an exit passes once, of init and of each exec', () => {
  const ledger = new ExitLedger();
  const told = [
    created,
    started,
    exit('e', 2),
    exit('e', 2),
    exit('c', 1, 7),
    exit('c', 1, 255),
    deleted,
    deleted,
  ];
  assert.deepEqual(
    told.map((event) => ledger.admit(event)),
    [true, true, true, false, true, false, true, false],
  );
  assert.equal(ledger.exitOf(namespace, 'c', '')?.exitStatus, 7);
  assert.equal(ledger.exitOf(namespace, 'c', 'e')?.pid, 2);
  assert.ok(ledger.isDeleted(namespace, 'c'));
});

test('a new container or exec under an old name and an old pid has an exit of its own', () => {
  const ledger = new ExitLedger();
  for (const event of [created, exit('e', 2), exit('c', 1)]) assert.ok(ledger.admit(event));
  ledger.admit(added('e'));
  assert.ok(ledger.admit(exit('e', 2)));
  assert.ok(!ledger.admit(exit('c', 1)), 'init is still the old one');
  ledger.admit(created);
  assert.ok(!ledger.isDeleted(namespace, 'c'));
  assert.ok(ledger.admit(exit('c', 1)));
});

test('the same names of another namespace are others', () => {
  const ledger = new ExitLedger();
  assert.ok(ledger.admit(exit('c', 1)));
  assert.ok(ledger.admit({ ...exit('c', 1), namespace: parseNamespace('other') }));
});

test("a container's execs are forgotten one by one, its init never", () => {
  const ledger = new ExitLedger();
  ledger.admit(exit('c', 1));
  for (let pid = 2; pid < limits.rememberedExecExits + 12; pid += 1) ledger.admit(exit(`e${pid}`, pid));
  assert.equal(ledger.exitOf(namespace, 'c', 'e2'), undefined);
  assert.equal(ledger.exitOf(namespace, 'c', 'e20')?.pid, 20);
  assert.equal(ledger.exitOf(namespace, 'c', '')?.pid, 1);
});

test('what is known of deleted containers is forgotten in time, of others never', () => {
  const ledger = new ExitLedger();
  ledger.admit(exit('c', 1));
  const event = (id: string) => packAny(TaskDeleteSchema, { containerId: id });
  const announced = (id: string): boolean =>
    ledger.admit({ namespace, topic: '/tasks/delete', event: event(id) });
  assert.ok(announced('first'));
  for (let made = 0; made < limits.rememberedDeletions; made += 1) announced(`d${made}`);
  assert.ok(!ledger.isDeleted(namespace, 'first'));
  assert.ok(ledger.isDeleted(namespace, 'd5'));
  assert.equal(ledger.exitOf(namespace, 'c', '')?.pid, 1);
});

test('what is no event of a task passes, and a malformed one is refused', () => {
  const ledger = new ExitLedger();
  assert.ok(
    ledger.admit({ namespace, topic: '/custom/topic', event: { typeUrl: 'x', value: Uint8Array.of(1) } }),
  );
  const broken = { namespace, topic: '/tasks/exit', event: { typeUrl: 'x', value: Uint8Array.of(1) } };
  assert.throws(() => ledger.admit(broken), { code: 'InvalidArgument' });
});
