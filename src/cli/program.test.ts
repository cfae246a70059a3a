import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { PassThrough } from 'node:stream';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { Command } from 'commander';
import { App, type Surroundings } from './app.ts';
import { bashScript } from './commands/completion.ts';
import { makeProgram, runProgram } from './program.ts';

interface Told {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

function surroundings(env: Surroundings['env']): {
  around: Surroundings;
  stdout: string[];
  stderr: string[];
} {
  const stdout: string[] = [];
  const stderr: string[] = [];
  const writer = (into: string[]) =>
    ({ write: (text: string) => into.push(text) }) as unknown as NodeJS.WriteStream;
  const around: Surroundings = {
    stdin: new PassThrough() as unknown as NodeJS.ReadStream,
    stdout: writer(stdout),
    stderr: writer(stderr),
    env,
    cwd: '/',
    uid: 0,
    version: '1.2.3',
    makeFifo: () => assert.fail('no FIFO is wanted here'),
    readRootFiles: () => assert.fail('no file is wanted here'),
    runDaemon: () => assert.fail('no daemon is wanted here'),
    onSignals: () => ({ [Symbol.dispose]: () => {} }),
    nowMs: () => 0,
  };
  return { around, stdout, stderr };
}

async function gantry(args: string[], env: Surroundings['env'] = {}): Promise<Told> {
  const { around, stdout, stderr } = surroundings(env);
  const exitCode = await runProgram(args, around);
  return { exitCode, stdout: stdout.join(''), stderr: stderr.join('') };
}

const program = (): Command => makeProgram(new App(surroundings({}).around));

test('every command has a summary, examples and a man page section with all its options', async () => {
  const manual = readFileSync(new URL('../../docs/man/gantry.1', import.meta.url), 'utf8').replaceAll(
    '\\-',
    '-',
  );
  const sections = new Map(
    manual.split(/^\.S[SH] /m).map((section) => [section.split('\n', 1)[0] as string, section] as const),
  );
  for (const command of [program(), ...program().commands]) {
    const isRoot = command.parent === null;
    const section = sections.get(isRoot ? 'OPTIONS' : `gantry ${command.name()}`);
    assert.ok(section !== undefined, `${command.name()} is not in the manual`);
    for (const { short, long } of command.options)
      for (const flag of [short, long])
        if (flag !== undefined)
          assert.ok(section.includes(`\\fB${flag}\\fR`), `${command.name()} ${flag} is not in the manual`);
    if (isRoot) continue;
    assert.notEqual(command.summary(), '', command.name());
    const { stdout, exitCode } = await gantry([command.name(), '--help']);
    assert.equal(exitCode, 0);
    assert.match(stdout, /Usage: gantry [a-z]+/);
    assert.match(stdout, new RegExp(`Examples?:\\n {2}gantry ${command.name()}`));
  }
});

test("the daemon's manual has all its options", () => {
  const manual = readFileSync(new URL('../../docs/man/gantryd.8', import.meta.url), 'utf8').replaceAll(
    '\\-',
    '-',
  );
  const daemon = fileURLToPath(new URL('../daemon/main.ts', import.meta.url));
  const help = execFileSync(process.execPath, [daemon, '--help'], { encoding: 'utf8' });
  const flags = help.match(/(?<=^ {2}(?:-\w, )?)--[a-z-]+/gm) ?? [];
  assert.ok(flags.length > 5, help);
  for (const flag of flags) if (flag !== '--help') assert.ok(manual.includes(`\\fB${flag}\\fR`), flag);
});

test('wrong usage is exit code 2 with a hint', async () => {
  for (const args of [
    ['nope'],
    ['run'],
    ['run', '--nonsense', 'x'],
    ['ps', 'x'],
    ['run', '--net', 'moon', 'x'],
  ]) {
    const { exitCode, stderr } = await gantry(args);
    assert.equal(exitCode, 2, args.join(' '));
    assert.match(stderr, /^gantry: /);
    assert.match(stderr, /hint: /);
  }
});

test('a daemon that is not there: which socket, and how to start one', async () => {
  const byFlag = await gantry(['-a', '/absent.sock', 'ps']);
  assert.equal(byFlag.exitCode, 1);
  assert.match(
    byFlag.stderr,
    /^gantry: connect to the daemon at \/absent\.sock: there is no such socket\nhint: start/,
  );
  const byEnv = await gantry(['ps'], { GANTRY_ADDRESS: '', CONTAINERD_ADDRESS: 'unix:///other.sock' });
  assert.match(byEnv.stderr, /at \/other\.sock/);
  assert.equal((await gantry(['-a', '/absent.sock', 'run', 'x'])).exitCode, 125);
});

test('the version needs no daemon; `version` says that there is none', async () => {
  assert.deepEqual(await gantry(['--version']), { exitCode: 0, stdout: '1.2.3\n', stderr: '' });
  const { exitCode, stdout } = await gantry(['-a', '/absent.sock', 'version', '-o', 'json']);
  assert.equal(exitCode, 1);
  assert.equal((JSON.parse(stdout) as { daemon: null }).daemon, null);
});

test('the completion script is bash and completes commands and options', () => {
  const script = bashScript(program());
  const complete = (...words: string[]): string[] => {
    const set = `COMP_WORDS=(${words.map((word) => `'${word}'`).join(' ')}); COMP_CWORD=${words.length - 1}`;
    const body = `gantry() { echo named; }\n${script}\n${set}; _gantry; echo "\${COMPREPLY[@]}"`;
    return execFileSync('bash', ['-c', body], { encoding: 'utf8' }).trim().split(' ');
  };
  assert.deepEqual(complete('gantry', 'pu'), ['pull']);
  assert.deepEqual(complete('gantry', 'run', '--read'), ['--read-only']);
  assert.deepEqual(complete('gantry', 'stop', 'na'), ['named']);
});
