/** The events of a check: from the daemon's socket, or printed by `gantryd check` on a root without one. */
import { fromJsonString } from '@bufbuild/protobuf';
import { Check, type RunResponse, RunResponseSchema } from '../wire/gen/gantry/check/v1/check_pb.js';
import { connectGrpc } from '../wire/grpc/client.ts';
import type { Surroundings } from './app.ts';
import { CliFailure } from './failure.ts';

export interface CheckOptions {
  readonly digests: string;
  readonly seed: number;
  readonly repair: boolean;
  readonly plainHttp: boolean;
}

/** Errors: Unavailable, Unimplemented (containerd). */
export async function* checkByDaemon(
  address: string,
  options: CheckOptions,
  signal: AbortSignal,
): AsyncGenerator<RunResponse> {
  await using connection = connectGrpc(address);
  yield* connection.client(Check).run(options, { signal });
}

export interface OfflineRoot {
  readonly root: string;
  readonly state: string | undefined;
  readonly config: string | undefined;
}

export async function* checkOffline(
  { runDaemon }: Pick<Surroundings, 'runDaemon'>,
  { root, state, config }: OfflineRoot,
  options: CheckOptions,
  signal: AbortSignal,
): AsyncGenerator<RunResponse> {
  const args = [
    ...['--root', root],
    ...(state === undefined ? [] : ['--state', state]),
    ...(config === undefined ? [] : ['--config', config]),
    ...['check', '--digests', options.digests, '--seed', String(options.seed)],
    ...(options.repair ? ['--repair'] : []),
    ...(options.plainHttp ? ['--plain-http'] : []),
  ];
  const { status, stdout, stderr } = await runDaemon(args, signal);
  for (const line of stdout.toString('utf8').split('\n'))
    if (line !== '') yield fromJsonString(RunResponseSchema, line);
  if (status !== 0)
    throw new CliFailure(
      stderr
        .toString('utf8')
        .trim()
        .split('\n')
        .at(-1)
        ?.replace(/^gantryd: /, '') ?? '',
    );
}
