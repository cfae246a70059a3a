/** The worker of files.test.ts: confines itself, looks around and posts what it saw. */
import { readdirSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';
import { LinuxFiles } from './files.ts';

const files = new LinuxFiles();
files.confineThread(String(workerData));
parentPort?.postMessage(readdirSync('/'));
// Stays until it is told to go, so that the main thread is looked at meanwhile.
parentPort?.once('message', () => process.exit(0));
