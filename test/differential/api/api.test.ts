/** The gRPC services call by call: answers, error codes and the words of errors, ours against the peer. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { type Daemon, startGantry, startPeer } from '../../support/daemon.ts';
import { type ApiCall, compareCalls } from './api-harness.ts';
import { containerCalls } from './containers.suite.ts';
import { contentCalls } from './content.suite.ts';
import { contentWriteCalls } from './content-write.suite.ts';
import { eventCalls } from './events.suite.ts';
import { imageCalls } from './images.suite.ts';
import { introspectionCalls } from './introspection.suite.ts';
import { leaseCalls } from './leases.suite.ts';
import { namespaceCalls } from './namespaces.suite.ts';
import { runningTaskCalls } from './running-task.suite.ts';
import { sandboxCalls } from './sandboxes.suite.ts';
import { snapshotCalls } from './snapshots.suite.ts';
import { taskCalls } from './tasks.suite.ts';

const suites: Readonly<Record<string, readonly ApiCall[]>> = {
  namespaces: namespaceCalls,
  containers: containerCalls,
  images: imageCalls,
  content: contentCalls,
  'content-write': contentWriteCalls,
  snapshots: snapshotCalls,
  leases: leaseCalls,
  sandboxes: sandboxCalls,
  events: eventCalls,
  introspection: introspectionCalls,
  tasks: taskCalls,
  'running-task': runningTaskCalls,
};

/** Collection only when a call asks for it: what nothing refers to must not go in the middle. */
const config = '[plugins."io.containerd.gc.v1.scheduler"]\npause_threshold = 0.0001\n';

void describe('the API, ours against the peer', { concurrency: 1 }, () => {
  let ours: Daemon;
  let peer: Daemon;
  before(async () => {
    const first = process.env['GANTRY_DIFFERENTIAL'] === 'peer' ? startPeer : startGantry;
    ours = await first({ config });
    peer = await startPeer({ config });
  });
  after(async () => {
    await ours?.[Symbol.asyncDispose]();
    await peer?.[Symbol.asyncDispose]();
  });
  for (const [name, calls] of Object.entries(suites))
    void it(name, async () => {
      const differences = await compareCalls({ ours, peer }, `api-${name}`, calls);
      assert.equal(differences.length, 0, differences.join('\n'));
    });
});
