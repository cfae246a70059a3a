/** Runs a program to its end for a test, with its output as text; never through a shell. */
import { execFile } from 'node:child_process';

export interface Outcome {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  readonly input?: string | Uint8Array;
  /** Standard input stays open until the program ends: script(1) gives up at its end. */
  readonly keepInputOpen?: boolean;
  /** A test that would hang says which command it hung in. */
  readonly timeoutMs?: number;
}

const outputLimitBytes = 64 * 1024 * 1024;

/** The outcome, whatever the exit status. Rejects when the program cannot be started or takes too long. */
export function attempt(file: string, args: readonly string[], options: RunOptions = {}): Promise<Outcome> {
  const timeoutMs = options.timeoutMs ?? 120_000;
  return new Promise((resolve, reject) => {
    const child = execFile(
      file,
      [...args],
      {
        encoding: 'utf8',
        maxBuffer: outputLimitBytes,
        timeout: timeoutMs,
        killSignal: 'SIGKILL',
        ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
        env: { ...process.env, ...options.env },
      },
      (error, stdout, stderr) => {
        if (error === null) resolve({ status: 0, stdout, stderr });
        else if (typeof error.code === 'number') resolve({ status: error.code, stdout, stderr });
        else if (error.killed)
          reject(
            new Error(`${file} ${args.join(' ')} did not end within ${timeoutMs} ms\n${stdout}\n${stderr}`),
          );
        else if (error.signal) resolve({ status: -1, stdout, stderr: `${stderr}\nended by ${error.signal}` });
        else reject(error);
      },
    );
    child.stdin?.on('error', () => {});
    if (options.input !== undefined) child.stdin?.write(options.input);
    if (options.keepInputOpen !== true) child.stdin?.end();
  });
}

/** Standard output of a program that must succeed. */
export async function run(file: string, args: readonly string[], options: RunOptions = {}): Promise<string> {
  const { status, stdout, stderr } = await attempt(file, args, options);
  if (status !== 0) throw new Error(`${file} ${args.join(' ')} exited ${status}\n${stderr}${stdout}`);
  return stdout;
}
