/** What one daemon passed on, the next one does not pass on again. */
import assert from 'node:assert/strict';
import { appendFileSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { background, type Context } from '../../../base/context.ts';
import { parseNamespace } from '../../../base/identifiers.ts';
import { limits } from '../../../base/limits.ts';
import { silentLogger } from '../../../base/logger.ts';
import { now } from '../../../base/time.ts';
import { packAny } from '../../../wire/any.ts';
import { TaskCreateSchema, TaskExitSchema } from '../../../wire/gen/containerd/events/task_pb.js';
import type { Envelope, EventExchange } from '../../events/event-exchange.ts';
import { ExitJournal } from './exit-journal.ts';
import { TaskEventExchange } from './task-events.ts';

const ctx = background(silentLogger);
const namespace = parseNamespace('journal');
const containerId = 'c';
const envelope = (topic: string, event: Envelope['event']): Envelope => ({
  timestamp: now(),
  namespace,
  topic,
  event,
});
const exit = (pid: number): Envelope =>
  envelope('/tasks/exit', packAny(TaskExitSchema, { containerId, id: containerId, pid }));
const creation = envelope('/tasks/create', packAny(TaskCreateSchema, { containerId, bundle: '/b' }));

async function makeFile(t: TestContext): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'gantry-journal-'));
  t.after(() => rm(directory, { recursive: true }));
  return join(directory, 'events');
}

/** A daemon, as far as events go, and what its subscribers heard. */
function startOn(path: string): { exchange: TaskEventExchange; heard: string[] } {
  const heard: string[] = [];
  const under: EventExchange = {
    publish: async () => {},
    forward: async (_ctx: Context, { topic }) => {
      heard.push(topic);
    },
    subscribe: () => assert.fail('nobody subscribes'),
  };
  return { exchange: new TaskEventExchange({ exchange: under, journal: new ExitJournal(path) }), heard };
}

void test('an exit that an earlier daemon passed on stays where it is, after half a line too', async (t) => {
  const path = await makeFile(t);
  const first = startOn(path);
  for (const event of [creation, exit(1)]) await first.exchange.forward(ctx, event);
  appendFileSync(path, '["journal","/tasks/ex');
  const second = startOn(path);
  await second.exchange.forward(ctx, exit(1));
  assert.deepEqual(second.heard, []);
  await second.exchange.forward(ctx, creation);
  await second.exchange.forward(ctx, exit(1));
  assert.deepEqual(second.heard, ['/tasks/create', '/tasks/exit'], 'of the next container of that name');
  appendFileSync(path, '["journal","/tasks/exit","no type","bm8="]\n');
  const third = startOn(path);
  await third.exchange.forward(ctx, exit(1));
  assert.deepEqual(third.heard, []);
});

void test('the journal does not grow for ever', async (t) => {
  const path = await makeFile(t);
  const { exchange } = startOn(path);
  for (let pid = 1; pid <= 2 * limits.journalEvents + 5; pid += 1) await exchange.forward(ctx, exit(pid));
  const lines = readFileSync(path, 'utf8').trim().split('\n');
  assert.ok(lines.length <= limits.journalEvents + 6, String(lines.length));
});
