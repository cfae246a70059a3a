/** `gantry why`: what keeps a thing alive. Exit code 1 when nothing has that name. */
import { Command, Option } from 'commander';
import { ContainerdError, hasCode } from '../../base/errors.ts';
import { formatInstant, msOfInstant } from '../../base/time.ts';
import { normaliseReference } from '../../oci/reference.ts';
import type { Explanation, Root, Schedule, Thing, WhyResponse } from '../../wire/gen/gantry/gc/v1/gc_pb.js';
import { Gc } from '../../wire/gen/gantry/gc/v1/gc_pb.js';
import { connectGrpc } from '../../wire/grpc/client.ts';
import type { CallOptions, Client } from '../../wire/service.ts';
import { instantOf } from '../../wire/timestamps.ts';
import { type App, globalsOf, outputOption } from '../app.ts';
import { CliFailure } from '../failure.ts';
import { formatJson, printable } from '../table.ts';
import { formatDuration } from '../units.ts';

const kinds = ['content', 'snapshot', 'image', 'container', 'sandbox', 'lease', 'ingest', 'mount', 'stream'];
const shownRoots = 10;

export const whyCommand = (app: App): Command =>
  new Command('why')
    .summary('show what keeps a thing from being collected')
    .description(
      'Prints the chain of objects that keeps something alive, from what stays by itself down to it, or says that ' +
        'nothing does and when it goes. A name may be that of several things: each is explained.',
    )
    .argument('<name>', 'a digest or its beginning, an image, a snapshot, a container, a lease, …')
    .addOption(new Option('--kind <kind>', 'look at these only').choices(kinds))
    .addOption(outputOption())
    .addHelpText(
      'after',
      `
Examples:
  gantry why sha256:3c2f8e
  gantry why alpine
  gantry why --kind snapshot overlayfs/web -o json`,
    )
    .action(async (name: string, { kind = '' }: { kind?: string }, command: Command) => {
      const globals = globalsOf(command);
      await using connection = connectGrpc(await app.reach(globals));
      const answer = await ask(connection.client(Gc), name, kind, { namespace: globals.namespace });
      if (globals.output === 'json') app.print(formatJson(jsonOf(answer)));
      else
        app.print(
          answer.explanations.map((each) => textOf(each, answer.schedule, app.around.nowMs())).join('\n'),
        );
    });

/** The name as it is, then as people shorten those of images. */
async function ask(
  gc: Client<typeof Gc>,
  name: string,
  kind: string,
  call: CallOptions,
): Promise<WhyResponse> {
  try {
    return await gc.why({ name, kind }, call);
  } catch (error) {
    if (hasCode(error, 'Unimplemented'))
      throw new CliFailure('this daemon cannot explain what keeps things', {
        hint: 'gantryd can; containerd has no such call',
        cause: error,
      });
    if (!hasCode(error, 'NotFound')) throw error;
    const image = kind === '' || kind === 'image' ? fullName(name) : undefined;
    if (image !== undefined) {
      const answer = await gc.why({ name: image, kind: 'image' }, call).catch(absentIsUndefined);
      if (answer !== undefined) return answer;
    }
    throw new CliFailure(
      `nothing is called ${JSON.stringify(name)} in namespace ${JSON.stringify(call.namespace)}`,
      {
        hint: 'it may have been collected already; other namespaces are asked with -n',
        cause: error,
      },
    );
  }
}

function fullName(name: string): string | undefined {
  try {
    return normaliseReference(name).text;
  } catch {
    return undefined;
  }
}

function absentIsUndefined(error: unknown): undefined {
  if (!hasCode(error, 'NotFound')) throw ContainerdError.from(error);
}

const called = (object: Thing | undefined): string => `${object?.kind} ${object?.id}`;

function textOf(explanation: Explanation, schedule: Schedule | undefined, nowMs: number): string {
  const lines = [called(explanation.object)];
  if (!explanation.kept)
    lines.push(`  nothing keeps it: it goes with the next collection, ${dueText(schedule, nowMs)}`);
  for (const [depth, { object, why }] of explanation.chain.entries())
    lines.push(
      depth === 0
        ? `  ${called(object)}: ${why}`
        : `  ${'   '.repeat(depth - 1)}└─ ${called(object)}: ${why}`,
    );
  const others = explanation.roots.filter(
    (root) => called(root.object) !== called(explanation.chain[0]?.object),
  );
  if (others.length > 0) lines.push('  kept as well by:');
  for (const root of others.slice(0, shownRoots)) lines.push(`    ${called(root.object)}${untilText(root)}`);
  const more = explanation.rootCount - 1 - Math.min(others.length, shownRoots);
  if (others.length > 0 && more > 0) lines.push(`    and ${more} more`);
  const [first] = explanation.roots;
  const until = instantOf(explanation.keptUntil);
  if (until !== undefined) lines.push(`  kept until ${formatInstant(until)}, when the last of these expires`);
  else if (first !== undefined) lines.push(`  kept as long as ${called(first.object)} is there`);
  return lines.map((line) => `${printable(line)}\n`).join('');
}

function untilText({ expiresAt }: Root): string {
  const until = instantOf(expiresAt);
  return until === undefined ? '' : ` (until ${formatInstant(until)})`;
}

function dueText(schedule: Schedule | undefined, nowMs: number): string {
  if (schedule?.running === true) return 'which is running';
  const due = instantOf(schedule?.dueAt);
  if (due !== undefined) return `in ${formatDuration(Math.max(0, msOfInstant(due) - nowMs))}`;
  return `which comes after the next removal or ${schedule?.writesNeeded ?? 0} more writes`;
}

function jsonOf({ explanations, schedule }: WhyResponse): unknown {
  const time = (timestamp: Root['expiresAt']): string | null => {
    const instant = instantOf(timestamp);
    return instant === undefined ? null : formatInstant(instant);
  };
  const object = (each: Thing | undefined) => ({ kind: each?.kind ?? '', id: each?.id ?? '' });
  return {
    explanations: explanations.map((each) => ({
      ...object(each.object),
      kept: each.kept,
      chain: each.chain.map((link) => ({ ...object(link.object), why: link.why })),
      roots: each.roots.map((root) => ({
        ...object(root.object),
        why: root.why,
        expiresAt: time(root.expiresAt),
      })),
      rootCount: each.rootCount,
      keptUntil: time(each.keptUntil),
    })),
    nextCollection: {
      running: schedule?.running ?? false,
      dueAt: time(schedule?.dueAt),
      writesNeeded: schedule?.writesNeeded ?? 0,
    },
  };
}
