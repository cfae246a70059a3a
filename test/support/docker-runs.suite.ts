/** Containers by docker on our daemon: how they start, what they may do, and how they end. */
import assert from 'node:assert/strict';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { until } from '../../src/testing/until.ts';
import type { DockerLab } from './docker-lab.ts';

const mibBytes = 1024 * 1024;

export function dockerRuns(given: () => DockerLab): void {
  lives(given);
  ends(given);
  execs(given);
  settings(given);
}

function lives(given: () => DockerLab): void {
  test('a container is listed, seen by top and stats, paused, updated, renamed and removed', async () => {
    const lab = given();
    const { docker } = lab;
    await lab.start('life', 'exec sleep 1000', '--hostname', 'here', '--network', 'none');
    assert.match(await docker('ps', '--format', '{{.Names}} {{.Status}}'), /^life Up /m);
    assert.match(await docker('top', 'life'), new RegExp(`${await lab.pidOf('life')}.*sleep 1000`));
    const stats = await docker(
      'stats',
      '--no-stream',
      '--format',
      '{{.Name}} {{.MemUsage}} {{.PIDs}}',
      'life',
    );
    assert.match(stats, /^life [\d.]+[KM]iB \/ \S+ 1$/m);
    await docker('pause', 'life');
    assert.equal(await lab.inspect('life', '{{.State.Status}}'), 'paused');
    assert.notEqual((await docker.attempt(['exec', 'life', 'true'])).status, 0);
    await docker('unpause', 'life');
    assert.equal(await docker('exec', 'life', 'hostname'), 'here\n');
    await docker('update', '--memory', '64m', '--memory-swap', '64m', '--pids-limit', '33', 'life');
    const memory = await lab.cgroupFile('life', 'memory', 'memory.limit_in_bytes', 'memory.max');
    assert.equal(Number(memory), 64 * mibBytes);
    assert.equal(await lab.cgroupFile('life', 'pids', 'pids.max', 'pids.max'), '33');
    await docker('rename', 'life', 'lived');
    assert.notEqual((await docker.attempt(['rm', 'lived'])).status, 0, 'a running container was removed');
    await docker('rm', '-f', 'lived');
    assert.equal(await docker('ps', '-aq', '--filter', 'name=lived'), '');
  });

  test('its events come in order', async () => {
    const { docker, start } = { docker: given().docker, start: given().start.bind(given()) };
    const since = String(Math.floor(Date.now() / 1000));
    await start('told', 'exec sleep 1000');
    await docker('exec', 'told', 'true');
    await docker('pause', 'told');
    await docker('unpause', 'told');
    await docker('kill', 'told');
    await docker('wait', 'told');
    await docker('rm', 'told');
    const range = ['--since', since, '--until', String(Math.ceil(Date.now() / 1000) + 1)];
    const filter = ['--filter', 'container=told', '--filter', 'type=container'];
    const lines = (await docker('events', ...range, ...filter, '--format', '{{.Action}}')).trim().split('\n');
    const told = lines.map((line) => line.split(':')[0]);
    const expected = ['create', 'start', 'exec_create', 'exec_start', 'exec_die'];
    assert.deepEqual(told, [...expected, 'pause', 'unpause', 'kill', 'die', 'destroy']);
  });

  test('a health check runs in it', async () => {
    const lab = given();
    const check = ['--health-cmd', 'test -e /fit', '--health-interval', '100ms', '--health-retries', '1'];
    await lab.start('patient', 'exec sleep 1000', ...check);
    const becomes = (health: string): Promise<void> =>
      until(
        `it is ${health}`,
        async () => (await lab.inspect('patient', '{{.State.Health.Status}}')) === health,
      );
    await becomes('unhealthy');
    await lab.docker('exec', 'patient', 'touch', '/fit');
    await becomes('healthy');
    await lab.docker('rm', '-f', 'patient');
  });
}

function ends(given: () => DockerLab): void {
  for (const [what, command, status, message] of [
    ['success', ['true'], 0, /^$/],
    ['a code', ['sh', '-c', 'exit 7'], 7, /^$/],
    ['a program that is not there', ['no-such-program'], 127, /no-such-program.*executable file not found/],
    ['a program that cannot be run', ['/etc/passwd'], 126, /\/etc\/passwd.*permission denied/],
    ['a signal', ['sh', '-c', 'kill -9 $$; sleep 1000'], 137, /^$/],
  ] as const)
    test(`${what} ends a run with ${status}`, async () => {
      const flags = what === 'a signal' ? ['--init'] : [];
      const outcome = await given().docker.attempt(['run', '--rm', ...flags, given().image, ...command]);
      const said = outcome.stderr.replace(/^WARNING: .*\n/gm, '').replaceAll('\n', ' ');
      assert.deepEqual([outcome.status, outcome.stdout], [status, '']);
      assert.match(said, message);
    });

  test('stop lets it end by itself, kill does not, and wait tells the code', async () => {
    const lab = given();
    await lab.start(
      'polite',
      'trap "exit 9" TERM; trap "echo told" USR1; echo up; while :; do sleep 0.02; done',
    );
    await until('its traps are set', async () => (await lab.docker('logs', 'polite')) === 'up\n');
    await lab.docker('kill', '-s', 'USR1', 'polite');
    await until('it was signalled', async () => (await lab.docker('logs', 'polite')) === 'up\ntold\n');
    await lab.docker('stop', '-t', '20', 'polite');
    assert.equal(await lab.inspect('polite', '{{.State.Status}} {{.State.ExitCode}}'), 'exited 9');
    await lab.docker('start', 'polite');
    await lab.docker('kill', 'polite');
    assert.equal(await lab.docker('wait', 'polite'), '137\n');
    await lab.docker('rm', 'polite');
    await lab.start('deaf', 'trap "" TERM; while :; do sleep 0.1; done');
    await lab.docker('stop', '-t', '1', 'deaf');
    assert.equal(await lab.inspect('deaf', '{{.State.ExitCode}}'), '137');
    await lab.docker('rm', 'deaf');
  });

  test('a kill for want of memory is reported as one', async () => {
    const lab = given();
    const limits = ['--memory', '16m', '--memory-swap', '16m'];
    const outcome = await lab.docker.attempt([
      'run',
      '--name',
      'oom',
      ...limits,
      lab.image,
      'tail',
      '/dev/zero',
    ]);
    assert.equal(outcome.status, 137);
    assert.equal(await lab.inspect('oom', '{{.State.ExitCode}} {{.State.OOMKilled}}'), '137 true');
    await lab.docker('rm', 'oom');
  });

  test('restart policies start it again', async () => {
    const lab = given();
    await lab.start('again', 'echo try; exit 4', '--restart', 'on-failure:2');
    await until('it was tried thrice', async () => {
      const state = await lab.inspect('again', '{{.State.Status}} {{.RestartCount}} {{.State.ExitCode}}');
      return state === 'exited 2 4';
    });
    assert.equal(await lab.docker('logs', 'again'), 'try\n'.repeat(3));
    await lab.docker('rm', 'again');
    await lab.start('forever', 'exec sleep 1000', '--restart', 'always');
    const pid = await lab.pidOf('forever');
    process.kill(pid, 'SIGKILL');
    await until('it runs again', async () => {
      const state = await lab.inspect('forever', '{{.State.Status}} {{.RestartCount}}');
      return state === 'running 1' && (await lab.pidOf('forever')) !== pid;
    });
    await lab.docker('restart', '-t', '0', 'forever');
    await lab.becomes('forever', 'running');
    await lab.docker('stop', '-t', '0', 'forever');
    assert.equal(await lab.inspect('forever', '{{.State.Status}}'), 'exited');
    await lab.docker('rm', 'forever');
  });
}

function execs(given: () => DockerLab): void {
  test('execs: codes, input, user, directory, environment, detached ones', async () => {
    const lab = given();
    const { docker } = lab;
    await lab.start('host', 'exec sleep 1000');
    const code = await docker.attempt(['exec', 'host', 'sh', '-c', 'echo out; echo err >&2; exit 3']);
    assert.deepEqual(code, { status: 3, stdout: 'out\n', stderr: 'err\n' });
    const absent = await docker.attempt(['exec', 'host', 'no-such-program']);
    // Of an exec, docker 20 knows only that it could not be started.
    assert.equal(absent.status, lab.engine.major < 28 ? 126 : 127);
    assert.match(absent.stdout + absent.stderr, /no-such-program.*executable file not found/);
    const echoed = await docker.attempt(['exec', '-i', 'host', 'cat'], { input: 'words\n' });
    assert.deepEqual(echoed, { status: 0, stdout: 'words\n', stderr: '' });
    const flags = ['-u', 'worker', '-w', '/etc', '-e', 'WORD=one'];
    const seen = await docker('exec', ...flags, 'host', 'sh', '-c', 'id -u; pwd; echo $WORD');
    assert.equal(seen, '1000\n/etc\none\n');
    await docker('exec', '-d', 'host', 'sh', '-c', 'echo done >/done');
    await until(
      'the detached one has run',
      async () => (await docker('exec', 'host', 'cat', '/done')) === 'done\n',
    );
    assert.equal((await docker.attempt(['exec', 'host', 'sh', '-c', 'kill -9 $$'])).status, 137);
    await docker('rm', '-f', 'host');
  });
}

function settings(given: () => DockerLab): void {
  test('runtimes by name', async () => {
    const lab = given();
    const flags = ['--runtime', 'io.containerd.gantry.v1'];
    if (lab.engine.major < 28) await assert.rejects(lab.once('true', ...flags), /Unknown runtime/i);
    else assert.equal(await lab.once('echo by name', ...flags), 'by name\n');
    assert.equal(await lab.once('echo usual', '--runtime', 'io.containerd.runc.v2'), 'usual\n');
  });

  test('--init, --user, --read-only, --pids-limit, --cap-drop, --entrypoint', async () => {
    const lab = given();
    assert.match(await lab.once('cat /proc/1/comm; readlink /proc/1/exe', '--init'), /init/);
    assert.equal(
      await lab.once('id -u; id -g; id -G', '--user', '1000:1000', '--group-add', '2000'),
      '1000\n1000\n1000 2000\n',
    );
    const readOnly = ['run', '--rm', '--read-only', lab.image, 'touch', '/x'];
    assert.match((await lab.docker.attempt(readOnly)).stderr, /Read-only file system/);
    await lab.start('few', 'exec sleep 1000', '--pids-limit', '5');
    assert.equal(await lab.cgroupFile('few', 'pids', 'pids.max', 'pids.max'), '5');
    await lab.docker('rm', '-f', 'few');
    assert.match(await lab.once('grep CapEff /proc/self/status', '--cap-drop', 'ALL'), /CapEff:\s+0{16}$/m);
    const entry = await lab.docker('run', '--rm', '--entrypoint', 'echo', lab.image, 'hello');
    assert.equal(entry, 'hello\n');
  });

  test('volumes, bind mounts and temporary file systems', async () => {
    const lab = given();
    const shared = join(lab.engine.dir, 'shared');
    await mkdir(shared);
    await writeFile(join(shared, 'given'), 'from outside\n');
    const mounts = ['-v', 'kept:/data', '-v', `${shared}:/shared`, '--tmpfs', '/scratch:size=1m'];
    const seen = await lab.once(
      'echo kept >/data/f; cat /shared/given; echo from inside >/shared/made; grep " /scratch " /proc/mounts',
      ...mounts,
    );
    assert.match(seen, /^from outside\ntmpfs \/scratch tmpfs rw,.*size=1024k/);
    assert.equal(await readFile(join(shared, 'made'), 'utf8'), 'from inside\n');
    assert.equal(await lab.once('cat /data/f', '-v', 'kept:/data:ro'), 'kept\n');
    await lab.docker('volume', 'rm', 'kept');
  });
}
