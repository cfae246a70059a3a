/**
 * The verifier `bindir`: every program in a directory is asked, in the order of their names, and all must accept.
 *
 * A program gets `-name NAME -digest DIGEST -stdin-media-type TYPE` and the descriptor as JSON on its input. Status 0
 * accepts; what it prints is the reason, what it prints on standard error goes to the log. Whatever cannot be started
 * refuses. A directory that is empty or not there accepts everything, as containerd's does. The directory is read for
 * each image.
 *
 * Differs from containerd: a program that ends and leaves children with its output open has answered, where containerd
 * waits for them until the time limit and then drops what was said; one that a signal kills within its time refuses with
 * status 128 + signal.
 */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { type Context, checkSignal } from '../../base/context.ts';
import { hasCode, unknown, wrap } from '../../base/errors.ts';
import { limits } from '../../base/limits.ts';
import { type Descriptor, descriptorJson } from '../../oci/descriptor.ts';
import { childEnvironment } from '../../platform/child-environment.ts';
import { fromNodeError } from '../../platform/errno.ts';
import { SIGKILL } from '../../platform/signals.ts';
import { formatDurationMs } from '../plugins/duration.ts';
import { BoundedText } from '../programs/bounded-text.ts';
import { OutsideProgram, type OutsideProgramDependencies } from '../programs/outside-program.ts';
import type { ImageVerifier, Judgement } from './image-verifier.ts';

const descriptorType = 'application/vnd.oci.descriptor.v1+json';

export interface BindirVerifierOptions {
  readonly binDir: string;
  /** How many programs are asked at most; the others are left out with a warning. All when negative. */
  readonly maxVerifiers: number;
  readonly perVerifierTimeoutMs: number;
}

interface Answer {
  readonly status: number;
  readonly words: string;
}

export class BindirVerifier implements ImageVerifier {
  readonly #deps: OutsideProgramDependencies;
  readonly #options: BindirVerifierOptions;

  constructor(dependencies: OutsideProgramDependencies, options: BindirVerifierOptions) {
    this.#deps = dependencies;
    this.#options = options;
  }

  /** Errors: Unknown when a program cannot be run to its end, Canceled. */
  async verify(ctx: Context, name: string, target: Descriptor): Promise<Judgement> {
    const { binDir, maxVerifiers } = this.#options;
    const programs = await programsIn(binDir);
    if (programs === undefined)
      return { isAccepted: true, reason: `image verifier directory ${binDir} does not exist` };
    if (programs.length === 0)
      return { isAccepted: true, reason: `no image verifier binaries found in ${binDir}` };
    const asked = maxVerifiers < 0 ? programs : programs.slice(0, maxVerifiers);
    const reasons: string[] = [];
    for (const program of asked) {
      const { status, words } = await this.#ask(ctx, program, name, target);
      if (status !== 0)
        return {
          isAccepted: false,
          reason: `verifier ${program} rejected image (exit code ${status}): ${words}`,
        };
      reasons.push(`${program} => ${words}`);
    }
    if (asked.length < programs.length)
      ctx.log.warn(
        { binDir, programs: programs.length, maxVerifiers },
        'image verifiers are left out: there are more than max_verifiers',
      );
    return { isAccepted: true, reason: reasons.join(', ') };
  }

  async #ask(ctx: Context, program: string, name: string, target: Descriptor): Promise<Answer> {
    const startedMs = performance.now();
    try {
      return await this.#run(ctx, program, name, target);
    } catch (error) {
      checkSignal(ctx.signal);
      const runtime = formatDurationMs(Math.round(performance.now() - startedMs));
      throw wrap(`failed to call verifier ${program} (runtime ${runtime})`, error);
    }
  }

  async #run(ctx: Context, program: string, name: string, target: Descriptor): Promise<Answer> {
    const outOfTime = AbortSignal.timeout(this.#options.perVerifierTimeoutMs);
    const signal = AbortSignal.any([ctx.signal, outOfTime]);
    await using running = this.#start(program, ['-name', name, '-digest', target.digest]);
    const kill = (): void => running.kill();
    signal.addEventListener('abort', kill, { once: true });
    if (signal.aborted) kill();
    const bound = { maxBytes: limits.verifierOutputBytes, keep: 'start' } as const;
    const [said, noted] = [new BoundedText(running.stdout, bound), new BoundedText(running.stderr, bound)];
    // It need not read it.
    running.stdin?.on('error', () => {});
    running.stdin?.end(`${JSON.stringify(descriptorJson(target))}\n`);
    const status = await running.ended;
    signal.removeEventListener('abort', kill);
    await Promise.all([said.settled(), noted.settled()]);
    logLines(ctx, program, noted);
    checkSignal(ctx.signal);
    if (outOfTime.aborted && status === 128 + SIGKILL)
      throw unknown('it took longer than per_verifier_timeout: waiting on command to exit: signal: killed');
    return { status, words: said.isCut ? `${said.text}(stdout truncated)` : said.text };
  }

  #start(program: string, args: readonly string[]): OutsideProgram {
    try {
      return OutsideProgram.start(this.#deps, {
        file: join(this.#options.binDir, program),
        args: [...args, '-stdin-media-type', descriptorType],
        env: childEnvironment(),
      });
    } catch (error) {
      throw wrap('starting process', error);
    }
  }
}

/** Names in their order; undefined when there is no such directory. */
async function programsIn(binDir: string): Promise<string[] | undefined> {
  try {
    return (await readdir(binDir)).toSorted();
  } catch (thrown) {
    const error = fromNodeError(thrown);
    if (hasCode(error, 'NotFound')) return undefined;
    throw unknown(`failed to list directory contents: ${error.message}`, error);
  }
}

function logLines({ log }: Context, program: string, { text, isCut }: BoundedText): void {
  const fields = { image_verifier: program, stream: 'stderr' };
  if (text !== '') for (const line of text.split('\n')) log.debug(fields, line);
  if (isCut) log.debug(fields, '(the rest is left out)');
}
