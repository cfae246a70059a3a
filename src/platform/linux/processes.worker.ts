/** The worker of processes.test.ts: spawns a child and posts its status. */
import { parentPort } from 'node:worker_threads';
import { LinuxProcesses } from './processes.ts';

const processes = new LinuxProcesses();
const pid = processes.spawn({
  file: '/bin/sh',
  args: ['-c', 'exit 9'],
  env: {},
  stdio: ['null', 'null', 'null'],
});
const { status } = await processes.exited(pid);
parentPort?.postMessage(status);
