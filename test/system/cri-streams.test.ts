/** Exec and Attach as the API server uses them: the call gives a URL, and a WebSocket goes there. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { hasCode } from '../../src/base/errors.ts';
import { until } from '../../src/testing/until.ts';
import { CriLab } from '../support/cri-lab.ts';

interface Session {
  /** Text by channel: 1 stdout, 2 stderr, 3 how it ended. */
  readonly text: Map<number, string>;
  readonly socket: WebSocket;
  readonly closed: Promise<void>;
  send(channel: number, text: string): void;
}

async function open(url: string): Promise<Session> {
  const socket = new WebSocket(url.replace('http', 'ws'), 'v4.channel.k8s.io');
  socket.binaryType = 'arraybuffer';
  const text = new Map<number, string>();
  socket.addEventListener('message', ({ data }) => {
    const [channel = -1, ...bytes] = new Uint8Array(data as ArrayBuffer);
    text.set(channel, (text.get(channel) ?? '') + Buffer.from(bytes).toString());
  });
  const closed = new Promise<void>((resolve) => {
    socket.addEventListener('close', () => resolve());
  });
  await new Promise<void>((resolve, reject) => {
    socket.addEventListener('open', () => resolve());
    socket.addEventListener('error', () => reject(new Error(`no WebSocket at ${url}`)));
  });
  return {
    text,
    socket,
    closed,
    send: (channel, said) => socket.send(Buffer.concat([Buffer.from([channel]), Buffer.from(said)])),
  };
}

void describe('the CRI: exec and attach', { concurrency: 1 }, () => {
  let lab: CriLab;
  let podSandboxId: string;
  before(async () => {
    lab = await CriLab.start();
    podSandboxId = await lab.runPod('streams');
  });
  after(async () => {
    await lab?.[Symbol.asyncDispose]();
  });
  const started = async (name: string, command: string[], more: object = {}): Promise<string> => {
    const containerId = await lab.create(podSandboxId, name, command, more);
    await lab.runtime.startContainer({ containerId });
    return containerId;
  };

  void it('a command: its output, its input, its exit code', async () => {
    const containerId = await started('main', ['sleep', '600']);
    const cmd = ['sh', '-c', 'read word; echo got $word; echo bad >&2; exit 7'];
    const { url } = await lab.runtime.exec({ containerId, cmd, stdin: true, stdout: true, stderr: true });
    const session = await open(url);
    session.send(0, 'hello\n');
    await session.closed;
    assert.equal(session.text.get(1), 'got hello\n');
    assert.equal(session.text.get(2), 'bad\n');
    const status = JSON.parse(session.text.get(3) ?? '') as { details: { causes: { message: string }[] } };
    assert.equal(status.details.causes[0]?.message, '7');
    await assert.rejects(open(url));
  });

  void it('a command whose client has left is killed', async () => {
    const containerId = await started('left', ['sleep', '600']);
    const { url } = await lab.runtime.exec({ containerId, cmd: ['sleep', '4711'], stdout: true });
    const session = await open(url);
    const runs = async (): Promise<boolean> =>
      Buffer.from((await lab.runtime.execSync({ containerId, cmd: ['ps'] })).stdout)
        .toString()
        .includes('sleep 4711');
    await until('it runs', runs);
    session.socket.close();
    await until('it has gone', async () => !(await runs()));
  });

  void it('a terminal has the size that the client gives', async () => {
    const containerId = await started('tty', ['sleep', '600']);
    const { url } = await lab.runtime.exec({
      containerId,
      cmd: ['sh'],
      tty: true,
      stdin: true,
      stdout: true,
    });
    const session = await open(url);
    session.send(4, JSON.stringify({ Width: 91, Height: 37 }));
    await until('it is of that size', () => {
      session.send(0, 'stty size\n');
      return session.text.get(1)?.includes('37 91') ?? false;
    });
    session.send(0, 'exit\n');
    await session.closed;
  });

  void it('a client of the container itself reads what it writes and is read', async () => {
    const containerId = await started('echo', ['sh', '-c', 'while read word; do echo heard $word; done'], {
      stdin: true,
    });
    const { url } = await lab.runtime.attach({ containerId, stdin: true, stdout: true, stderr: true });
    const session = await open(url);
    session.send(0, 'you\n');
    await until('it answers', () => session.text.get(1) === 'heard you\n');
    await lab.runtime.stopContainer({ containerId });
    await session.closed;
  });

  void it('nothing is streamed of containers that do not run', async () => {
    const containerId = await lab.create(podSandboxId, 'created', ['true']);
    for (const asked of [
      lab.runtime.exec({ containerId, cmd: ['true'], stdout: true }),
      lab.runtime.attach({ containerId, stdout: true }),
    ])
      await assert.rejects(asked, (error) => hasCode(error, 'FailedPrecondition'));
    await assert.rejects(lab.runtime.exec({ containerId: 'no', stdout: true }), (error) =>
      hasCode(error, 'NotFound'),
    );
    await lab.runtime.removePodSandbox({ podSandboxId });
    await lab.assertNothingLeft();
  });
});
