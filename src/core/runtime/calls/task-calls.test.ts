/** Calls into a fake shim that hangs, dies and lies: what the caller gets, and what was done how often. */
import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { background, type Context, withNamespace, withSignal } from '../../../base/context.ts';
import { ContainerdError, type ErrorCode } from '../../../base/errors.ts';
import { parseContainerId, parseNamespace } from '../../../base/identifiers.ts';
import { limits } from '../../../base/limits.ts';
import { silentLogger } from '../../../base/logger.ts';
import { identify } from '../../../platform/process-identity.ts';
import { selectPlatform } from '../../../platform/select.ts';
import { FakeShim, type Fault, type Method } from '../../../testing/fake-shim.ts';
import { unpackAny } from '../../../wire/any.ts';
import { Status } from '../../../wire/gen/containerd/types/task/task_pb.js';
import { TaskEscalatedSchema } from '../../../wire/gen/gantry/runtime/v1/runtime_pb.js';
import type { EventPublisher } from '../../events/event-exchange.ts';
import { shimAddressIn } from '../shims/gantry-shim.ts';
import { ShimConnection } from '../shims/shim-connection.ts';
import { type RestartableShim, ShimLink } from '../shims/shim-link.ts';
import { Task } from '../tasks/task.ts';
import { Deadlines } from './deadlines.ts';
import { Escalation } from './escalation.ts';
import { OutstandingCalls } from './outstanding-calls.ts';
import { TaskCalls } from './task-calls.ts';

const id = parseContainerId('c1');
const namespace = parseNamespace('calls-test');
const ctx = withNamespace(background(silentLogger), namespace);

/** Short, so that a test is; long enough for a busy machine to answer within. */
const short = { 'task.state': 400, 'task.change': 400, 'shim.start': 2_000 };

async function makeLab(t: TestContext, { deadlines = {} }: { deadlines?: Record<string, number> } = {}) {
  const platform = await selectPlatform();
  const directory = await mkdtemp(join(tmpdir(), 'gantry-calls-'));
  const bundle = { namespace, id, path: join(directory, 'bundle') };
  mkdirSync(bundle.path);
  const shim = new FakeShim({ platform }, { directory });
  const { processes } = platform;
  const own: RestartableShim = {
    address: shimAddressIn(directory),
    directory,
    connect: async ({ signal }) => {
      await shim.start();
      return ShimConnection.open(shimAddressIn(directory), { signal });
    },
    processIdentity: async () => identify(processes, shim.pid),
    [Symbol.dispose]: () => {},
  };
  const steps: string[] = [];
  const events: EventPublisher = {
    publish: async (_ctx: Context, topic, event) => {
      assert.equal(topic, '/gantry/task-escalated');
      steps.push(unpackAny(TaskEscalatedSchema, event).step);
    },
  };
  const lost: ShimLink[] = [];
  const link = new ShimLink(
    { processes, log: silentLogger, onLost: (one) => lost.push(one), vacated: async () => {} },
    { address: own.address, gantry: own },
  );
  const outstanding = new OutstandingCalls();
  const bounds = new Deadlines(new Map(Object.entries({ 'task.escalation': 150, ...deadlines })));
  const escalation = new Escalation({
    platform,
    events,
    calls: outstanding,
    deadlines: bounds,
    log: silentLogger,
  });
  const calls = new TaskCalls({ calls: outstanding, escalation, deadlines: bounds });
  const task = new Task({ bundle, link, resources: new DisposableStack() });
  t.after(async () => {
    await link[Symbol.asyncDispose]();
    await shim[Symbol.asyncDispose]();
    await rm(directory, { recursive: true });
  });
  const call = <M extends Exclude<Method, 'wait'>>(
    method: M,
    request: Parameters<typeof calls.call<M>>[3],
    context = ctx,
  ) => calls.call(context, task, method, request);
  return { shim, link, task, outstanding, steps, lost, call };
}

/** What was called to make the task, what is called then, with which end, and the effects in the shim. */
interface Case {
  readonly before: readonly Method[];
  readonly method: Exclude<Method, 'wait'>;
  readonly fault: Fault;
  readonly ends: 'well' | ErrorCode;
  readonly effects: readonly string[];
}

const repeated: readonly Case[] = [
  { before: ['create'], method: 'state', fault: 'die before', ends: 'well', effects: ['state c1'] },
  { before: [], method: 'create', fault: 'die before', ends: 'well', effects: ['create c1'] },
  { before: [], method: 'create', fault: 'die after', ends: 'well', effects: ['create c1', 'state c1'] },
  {
    before: ['create'],
    method: 'start',
    fault: 'die before',
    ends: 'well',
    effects: ['state c1', 'start c1'],
  },
  {
    before: ['create'],
    method: 'start',
    fault: 'die after',
    ends: 'well',
    effects: ['start c1', 'state c1'],
  },
  { before: ['create', 'start'], method: 'kill', fault: 'die before', ends: 'well', effects: ['kill c1'] },
  // The process has ended of the signal, and the answer was lost.
  { before: ['create', 'start'], method: 'kill', fault: 'die after', ends: 'well', effects: ['kill c1'] },
  { before: ['create'], method: 'delete', fault: 'die before', ends: 'well', effects: ['delete c1'] },
  { before: ['create'], method: 'delete', fault: 'die after', ends: 'NotFound', effects: ['delete c1'] },
  { before: ['create'], method: 'exec', fault: 'die before', ends: 'well', effects: ['exec c1/e1'] },
  { before: ['create'], method: 'exec', fault: 'die after', ends: 'well', effects: ['exec c1/e1'] },
  {
    before: ['create'],
    method: 'pause',
    fault: 'die before',
    ends: 'well',
    effects: ['state c1', 'pause c1'],
  },
  {
    before: ['create'],
    method: 'pause',
    fault: 'die after',
    ends: 'well',
    effects: ['pause c1', 'state c1'],
  },
  {
    before: ['create'],
    method: 'update',
    fault: 'die after',
    ends: 'well',
    effects: ['update c1', 'update c1'],
  },
  {
    before: ['create'],
    method: 'checkpoint',
    fault: 'die after',
    ends: 'Unavailable',
    effects: ['checkpoint c1'],
  },
];

for (const { before, method, fault, ends, effects } of repeated)
  void test(`${method}, and the shim shall ${fault} it is done`, async (t) => {
    const { shim, call, lost } = await makeLab(t);
    for (const earlier of before) await call(earlier as 'create', { id });
    shim.effects.length = 0;
    shim.faults.set(method, [fault]);
    const request = { id, execId: method === 'exec' ? 'e1' : '', signal: 9 };
    if (ends === 'well') await call(method, request);
    else await assert.rejects(call(method, request), { code: ends });
    const seen = shim.effects.filter((effect) => ends !== 'NotFound' || effect.startsWith(method));
    assert.deepEqual(seen, effects);
    assert.equal(lost.length, 1);
    assert.equal(shim.starts, 2);
  });

void test('a start that had come to its end when the shim died answers the pid', async (t) => {
  const { shim, call } = await makeLab(t);
  const { pid } = await call('create', { id });
  shim.faults.set('start', ['die after']);
  assert.equal((await call('start', { id, execId: '' })).pid, pid);
});

void test('an exec that did not start when the shim died is an error, and no pid is made up', async (t) => {
  const { shim, call } = await makeLab(t);
  await call('create', { id });
  await call('exec', { id, execId: 'e1' });
  shim.faults.set('start', ['die after']);
  shim.faults.set('state', [new ContainerdError('NotFound', 'process e1')]);
  await assert.rejects(call('start', { id, execId: 'e1' }), { code: 'NotFound' });
});

void test('waits go on over any number of shims, and hear the end', async (t) => {
  const { shim, task, call } = await makeLab(t);
  await call('create', { id });
  const waiting = task.ended(ctx, '');
  for (let deaths = 0; deaths < 3; deaths += 1) {
    await shim.die();
    await call('state', { id, execId: '' });
  }
  shim.exit(id, 7);
  assert.equal((await waiting).exitStatus, 7);
});

void test('a shim that cannot be started is tried again, and given up after some tries', async (t) => {
  const { shim, call } = await makeLab(t);
  shim.failingStarts = limits.shimStarts - 1;
  await call('create', { id });
  await shim.die();
  shim.failingStarts = limits.shimStarts;
  await assert.rejects(call('state', { id, execId: '' }), {
    code: 'Unavailable',
    message: /no shim could be started .*: the fake shim does not start/,
  });
});

void test('a question waits for a shim that is just taken over, longer than for an answer', async (t) => {
  // The pauses between these starts come to three of the first.
  const deadlines = { ...short, 'task.state': 2 * limits.shimStartPauseMs };
  const { shim, call, outstanding } = await makeLab(t, { deadlines });
  await call('create', { id });
  await shim.die();
  shim.failingStarts = 2;
  assert.equal((await call('state', { id, execId: '' })).status, Status.CREATED);
  assert.deepEqual(outstanding.stuck(namespace), []);
});

void test('a question that hangs ends at its deadline, and is listed until it is answered', async (t) => {
  const { shim, call, outstanding, steps } = await makeLab(t, { deadlines: short });
  await call('create', { id });
  shim.faults.set('state', ['hang']);
  await assert.rejects(call('state', { id, execId: '' }), { code: 'DeadlineExceeded' });
  const [stuck, ...others] = outstanding.stuck(namespace);
  assert.deepEqual([stuck?.call, stuck?.id, others.length], ['state', id, 0]);
  assert.ok((stuck?.ageMs ?? 0) >= short['task.state']);
  await call('state', { id, execId: '' });
  assert.deepEqual(outstanding.stuck(namespace), []);
  assert.equal(shim.starts, 1, 'a shim that answers others is not replaced');
  assert.ok(steps.every((step) => step === 'ping'));
});

void test('a shim that answers nothing is replaced, and the next question is answered', async (t) => {
  const { shim, call, lost } = await makeLab(t, { deadlines: short });
  await call('create', { id });
  const replaced = Promise.withResolvers<void>();
  lost.push = (...links) => {
    replaced.resolve();
    return links.length;
  };
  shim.faults.set('state', ['hang']);
  shim.faults.set('connect', ['hang']);
  await assert.rejects(call('state', { id, execId: '' }), { code: 'DeadlineExceeded' });
  await replaced.promise;
  assert.equal((await call('state', { id, execId: '' })).status, Status.CREATED);
  assert.equal(shim.starts, 2);
});

void test('a call that hangs in a shim that answers: the shim is replaced last, and the call repeated', async (t) => {
  const { shim, call, steps, outstanding } = await makeLab(t, { deadlines: short });
  await call('create', { id });
  shim.faults.set('pause', ['hang']);
  await call('pause', { id });
  assert.deepEqual(steps, ['ping', 'shim-kill']);
  assert.equal(shim.starts, 2);
  assert.deepEqual(outstanding.running(), []);
});

void test('a call that hangs in every shim ends with what was tried, and stays listed', async (t) => {
  const { shim, call, steps, outstanding } = await makeLab(t, {
    deadlines: { ...short, 'task.escalation': 60 },
  });
  await call('create', { id });
  shim.faults.set('update', ['hang', 'hang']);
  await assert.rejects(call('update', { id }), {
    code: 'DeadlineExceeded',
    message: /^update of task c1: the shim did not come back within \d+ ms \(gave-up: /,
  });
  assert.deepEqual(steps, ['ping', 'shim-kill', 'gave-up']);
  assert.equal(outstanding.stuck(namespace)[0]?.call, 'update');
});

void test('a caller that leaves does not wait for a hung shim', async (t) => {
  const { shim, call, outstanding } = await makeLab(t);
  await call('create', { id });
  shim.faults.set('start', ['hang']);
  const left = new AbortController();
  const starting = call('start', { id, execId: '' }, withSignal(ctx, left.signal));
  left.abort();
  await assert.rejects(starting, { code: 'Canceled' });
  assert.equal(outstanding.running()[0]?.call, 'start', 'it is under way, whoever asked for it');
});
