/** Streams of containers by docker on our daemon: logs, attachments, input, terminals. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { test } from 'node:test';
import type { DockerLab } from './docker-lab.ts';

const sizeOnceSet = 'while [ -z "$(stty size 2>/dev/null)" ]; do sleep 0.02; done; tty; stty size';

export function dockerStreams(given: () => DockerLab): void {
  outputs(given);
  inputs(given);
  terminals(given);
}

function outputs(given: () => DockerLab): void {
  test('logs keep stdout and stderr apart, follow, and end with the container', async () => {
    const lab = given();
    await lab.start('writer', 'echo out; echo err >&2; while [ ! -e /go ]; do sleep 0.02; done; echo last');
    await using following = lab.talk('logs', '-f', 'writer');
    await following.says(/out\n/);
    await following.says(/err\n/);
    await lab.docker('exec', 'writer', 'touch', '/go');
    const { status, output } = await following.ended;
    assert.equal(status, 0);
    assert.ok(output.endsWith('last\n'), output);
    const { stdout, stderr } = await lab.docker.attempt(['logs', 'writer']);
    assert.deepEqual([stdout, stderr], ['out\nlast\n', 'err\n']);
    await lab.docker('rm', 'writer');
  });

  test('an attachment hears what comes after it and ends with the exit code', async () => {
    const lab = given();
    await lab.start('speaker', 'while [ ! -e /go ]; do echo on; sleep 0.05; done; echo bye; exit 5');
    await using attached = lab.talk('attach', '--no-stdin', 'speaker');
    await attached.says(/on\n/);
    await lab.docker('exec', 'speaker', 'touch', '/go');
    const { status, output } = await attached.ended;
    assert.equal(status, 5);
    assert.ok(output.endsWith('bye\n'), output);
    await lab.docker('rm', 'speaker');
  });

  test('much output arrives whole', async () => {
    const lines = (await given().once('seq 200000')).split('\n');
    assert.deepEqual([lines.length, lines[199_999]], [200_001, '200000']);
  });
}

function inputs(given: () => DockerLab): void {
  test('a run reads its input to the end, whole', async () => {
    const input = randomBytes(700_000).toString('base64');
    const command = ['run', '--rm', '-i', given().image, 'sha256sum'];
    const { status, stdout } = await given().docker.attempt(command, { input });
    assert.equal(status, 0);
    assert.equal(stdout.split(' ')[0], createHash('sha256').update(input).digest('hex'));
  });

  test('what is written to an attachment is read, by one client after another', async () => {
    const lab = given();
    await lab.docker('run', '-d', '-i', '--name', 'reader', lab.image, 'cat');
    for (const word of ['first', 'second']) {
      await using attached = lab.talk('attach', 'reader');
      attached.write(`${word}\n`);
      await attached.says(new RegExp(`${word}\n`));
    }
    assert.equal(await lab.docker('logs', 'reader'), 'first\nsecond\n');
    await lab.docker('rm', '-f', 'reader');
  });
}

function terminals(given: () => DockerLab): void {
  test('the output of a terminal ends with it', async () => {
    const { docker, image } = given();
    const command = ['run', '--rm', '-t', image, 'sh', '-c', 'tty; seq 5000; exit 6'];
    const { status, stdout } = await docker.attempt(command);
    assert.equal(status, 6);
    const lines = stdout.split('\r\n');
    assert.deepEqual([lines[0], lines.at(-2), lines.length], ['/dev/pts/0', '5000', 5_002]);
  });

  test('a terminal of a run and of an exec has the size of the client', async () => {
    const lab = given();
    const run = await lab.inTerminal('run', '--rm', '-it', lab.image, 'sh', '-c', sizeOnceSet);
    assert.match(run, /\/dev\/pts\/0\s+33 101/);
    await lab.start('screen', 'exec sleep 1000');
    const exec = await lab.inTerminal('exec', '-it', 'screen', 'sh', '-c', sizeOnceSet);
    assert.match(exec, /\/dev\/pts\/\d+\s+33 101/);
    await lab.docker('rm', '-f', 'screen');
  });

  test('logs of a terminal, and input to it', async () => {
    const lab = given();
    await lab.docker(
      'run',
      '-d',
      '-i',
      '-t',
      '--name',
      'tty',
      lab.image,
      'sh',
      '-c',
      'read a; echo "got $a"',
    );
    await using attached = lab.talk('logs', '-f', 'tty');
    const typed = await lab.inTerminal('exec', '-it', 'tty', 'tty');
    assert.match(typed, /\/dev\/pts\/\d+/);
    await lab.docker('exec', 'tty', 'sh', '-c', 'echo from elsewhere >/dev/console');
    await attached.says(/from elsewhere\r\n/);
    await lab.docker('kill', 'tty');
    assert.equal((await attached.ended).status, 0);
    await lab.docker('rm', 'tty');
  });
}
