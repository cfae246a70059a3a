/**
 * Runs a layer through stream processors by containerd's protocol: the layer on standard input, the result on standard
 * output, the media type of the input in STREAM_PROCESSOR_MEDIATYPE, and the payload of the Apply call for the
 * processor's id, a serialized google.protobuf.Any, on descriptor 3 when there is one. Each program reads the output of
 * the one before it directly.
 *
 * What comes out counts only when every program has ended with status 0, however complete it looks. When one fails, or
 * the layer is given up, all are killed.
 *
 * Differs from containerd, which looks at a program's status without waiting for its end, and kills no children.
 */
import { closeSync } from 'node:fs';
import { constants } from 'node:os';
import type { Readable, Writable } from 'node:stream';
import { toBinary } from '@bufbuild/protobuf';
import { AnySchema } from '@bufbuild/protobuf/wkt';
import type { AnyValue } from '../../base/any-value.ts';
import { checkSignal } from '../../base/context.ts';
import { unknown, wrap } from '../../base/errors.ts';
import { limits } from '../../base/limits.ts';
import type { Logger } from '../../base/logger.ts';
import { childEnvironment } from '../../platform/child-environment.ts';
import { anyToWire } from '../../wire/any.ts';
import { BoundedText } from '../programs/bounded-text.ts';
import { OutsideProgram, type OutsideProgramDependencies } from '../programs/outside-program.ts';
import type { ProcessingStep } from './stream-processor.ts';

export interface ProcessorChainDependencies extends OutsideProgramDependencies {
  readonly log: Logger;
}

/** By the id of the processor that it is for. */
export type ProcessorPayloads = ReadonlyMap<string, AnyValue>;

export interface ProcessedOptions {
  /** At least one. */
  readonly steps: readonly ProcessingStep[];
  readonly payloads?: ProcessorPayloads | undefined;
  readonly signal: AbortSignal;
}

interface RunningStep {
  readonly step: ProcessingStep;
  readonly program: OutsideProgram;
  readonly errors: BoundedText;
}

/**
 * What the last program makes of `source`, which is read to its end whatever they take of it. Errors: Unknown when a
 * program cannot be started or fails, with what it said; Canceled; what the source throws.
 */
export async function* processed(
  dependencies: ProcessorChainDependencies,
  source: AsyncIterable<Uint8Array>,
  { steps, payloads = new Map(), signal }: ProcessedOptions,
): AsyncGenerator<Uint8Array, void> {
  checkSignal(signal);
  await using chain = new AsyncDisposableStack();
  const running = start(dependencies, steps, payloads, chain);
  const [first, last] = [running[0] as RunningStep, running.at(-1) as RunningStep];
  const output: Readable = last.program.stdout;
  const input = first.program.stdin as Writable;
  const giveUp = new AbortController();
  const stop = (): void => {
    giveUp.abort();
    for (const { program } of running) program.kill();
    // What a program has put out of our reach may hold these open.
    output.destroy();
    input.destroy();
  };
  signal.addEventListener('abort', stop, { once: true });
  const feeding = feed(source, input, giveUp.signal);
  // A source that fails must not leave the programs waiting for the rest.
  feeding.catch(stop);
  chain.defer(async () => {
    signal.removeEventListener('abort', stop);
    stop();
    // The source is the caller's again.
    await feeding.catch(() => {});
  });
  try {
    for await (const chunk of output) yield chunk as Uint8Array;
  } catch (error) {
    checkSignal(signal);
    await feeding;
    throw error;
  }
  await feeding;
  await judge(dependencies.log, running);
  checkSignal(signal);
}

function start(
  dependencies: ProcessorChainDependencies,
  steps: readonly ProcessingStep[],
  payloads: ProcessorPayloads,
  chain: AsyncDisposableStack,
): RunningStep[] {
  const running: RunningStep[] = [];
  for (const step of steps) {
    const { processor, mediaType } = step;
    const payload = payloads.get(processor.id);
    const stdin = running.at(-1)?.program.takeStdout();
    try {
      const program = OutsideProgram.start(dependencies, {
        file: processor.path,
        args: processor.args,
        env: childEnvironment({ ...processor.env, STREAM_PROCESSOR_MEDIATYPE: mediaType }),
        ...(stdin !== undefined && { stdin }),
        ...(payload && { payload: toBinary(AnySchema, anyToWire(payload)) }),
      });
      chain.use(program);
      const bound = { maxBytes: limits.processorErrorBytes, keep: 'end' } as const;
      running.push({ step, program, errors: new BoundedText(program.stderr, bound) });
    } catch (error) {
      throw wrap(`failed to get stream processor for ${mediaType}`, error);
    } finally {
      if (stdin !== undefined) closeSync(stdin);
    }
  }
  return running;
}

/** A program may end before it has read everything; what has read the source checks its digest. */
async function feed(source: AsyncIterable<Uint8Array>, stdin: Writable, givenUp: AbortSignal): Promise<void> {
  let isOpen = true;
  const closed = new Promise<void>((resolve) => {
    const close = (): void => {
      isOpen = false;
      resolve();
    };
    stdin.once('close', close).once('error', close);
  });
  for await (const chunk of source) {
    if (givenUp.aborted) return;
    if (!isOpen) continue;
    const taken = new Promise<void>((resolve) => stdin.write(chunk, () => resolve()));
    await Promise.race([taken, closed]);
  }
  if (isOpen) stdin.end();
}

/** Of several failures the one that is not only because the next program no longer listened. */
async function judge(log: Logger, running: readonly RunningStep[]): Promise<void> {
  const failures: { readonly status: number; readonly message: string }[] = [];
  for (const { step, program, errors } of running) {
    const { id } = step.processor;
    const status = await program.ended;
    await errors.settled();
    const said = errors.text === '' ? '' : `: ${errors.text}`;
    if (status !== 0)
      failures.push({ status, message: `stream processor ${id} ended with status ${status}${said}` });
    else if (said !== '') log.debug({ processor: id, stderr: errors.text }, 'what a stream processor said');
  }
  const failure = failures.find(({ status }) => status !== unheard) ?? failures[0];
  if (failure !== undefined) throw unknown(failure.message);
}

/** Killed by SIGPIPE. */
const unheard = 128 + constants.signals.SIGPIPE;
