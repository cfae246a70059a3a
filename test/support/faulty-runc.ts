/**
 * runc that fails at the subcommands which a test names: it hangs, sleeps a second, crashes before it has done anything,
 * or lies, which is to say that it answers well and has done nothing. Everything else is the real runc's.
 */
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run } from './run.ts';

export type RuncFault = 'hang' | 'sleep' | 'crash' | 'lie';

// It hangs in the shell itself, by a FIFO that nobody writes: a sleep would live on when the shell is killed.
const script = `#!/bin/sh
here=\${0%/*}
for word; do
  case $word in
    create|start|exec|kill|delete|pause|resume|update|state) subcommand=$word; break ;;
  esac
done
if [ -e "$here/$subcommand" ]; then
  read -r fault <"$here/$subcommand"
  case $fault in
    hang) read -r _ <"$here/never" ;;
    sleep) sleep 1 ;;
    crash) kill -SEGV $$ ;;
    lie) exit 0 ;;
  esac
fi
exec runc "$@"
`;

export class FaultyRunc implements AsyncDisposable {
  readonly #directory: string;

  private constructor(directory: string) {
    this.#directory = directory;
  }

  static async make(): Promise<FaultyRunc> {
    const directory = await mkdtemp(join(tmpdir(), 'gantry-faulty-runc-'));
    const runc = new FaultyRunc(directory);
    await writeFile(runc.path, script);
    await chmod(runc.path, 0o755);
    await run('mkfifo', [join(directory, 'never')]);
    return runc;
  }

  /** For the runtime option BinaryName. */
  get path(): string {
    return join(this.#directory, 'runc');
  }

  async fail(subcommand: string, fault: RuncFault): Promise<void> {
    await writeFile(join(this.#directory, subcommand), `${fault}\n`);
  }

  async heal(subcommand: string): Promise<void> {
    await rm(join(this.#directory, subcommand), { force: true });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.#directory, { recursive: true, force: true });
  }
}
