/** The gRPC services call by call: answers, error codes and the words of errors, ours against the peer. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { type Daemon, startGantry, startPeer } from '../../support/daemon.ts';
import { type ApiCall, compareCalls } from './api-harness.ts';
import { compressionCalls } from './compression-calls.ts';
import { containerCalls } from './containers-calls.ts';
import { contentCalls } from './content-calls.ts';
import { contentWriteCalls } from './content-write-calls.ts';
import { eventCalls } from './events-calls.ts';
import { imageCalls } from './images-calls.ts';
import { introspectionCalls } from './introspection-calls.ts';
import { leaseCalls } from './leases-calls.ts';
import { namespaceCalls } from './namespaces-calls.ts';
import { runningTaskCalls } from './running-task-calls.ts';
import { sandboxCalls } from './sandboxes-calls.ts';
import { snapshotCalls } from './snapshots-calls.ts';
import { taskCalls } from './tasks-calls.ts';

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
  compression: compressionCalls,
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
