/** `gantry du`: what uses the disk. */
import { Command, Option } from 'commander';
import { hasCode } from '../../base/errors.ts';
import {
  type DiskUsageRequest,
  type Entry,
  type Totals,
  Usage,
} from '../../wire/gen/gantry/usage/v1/usage_pb.js';
import { connectGrpc } from '../../wire/grpc/client.ts';
import type { CallOptions, Client } from '../../wire/service.ts';
import { type App, globalsOf, outputOption } from '../app.ts';
import { CliFailure } from '../failure.ts';
import { familiar } from '../image-names.ts';
import { formatJson, formatTable } from '../table.ts';
import { formatSize } from '../units.ts';

const kinds = ['image', 'container', 'sandbox', 'lease', 'ingest', 'snapshot', 'content'] as const;
/** Told without being asked for: there are few of them, and they are what people made. */
const usualKinds: readonly string[] = ['image', 'container', 'sandbox', 'lease', 'ingest'];

interface Flags {
  readonly by?: string;
  readonly allNamespaces?: boolean;
  readonly walk: boolean;
}

export const duCommand = (app: App): Command =>
  new Command('du')
    .summary('show what uses the disk')
    .description(
      'Shows what images, containers, leases and uploads need: CONTENT is what was fetched, UNPACKED file systems. ' +
        'SHARED is needed by others too; UNIQUE would be free without it.',
    )
    .addOption(new Option('--by <kind>', 'list these only, one by one').choices(kinds))
    .option('--all-namespaces', 'of every namespace')
    .option('--no-walk', 'do not measure the writable layers of containers, which takes a walk through each')
    .addOption(outputOption())
    .addHelpText(
      'after',
      '\nExamples:\n  gantry du\n  gantry du --by snapshot\n  gantry du --all-namespaces -o json',
    )
    .action(async ({ by, allNamespaces = false, walk }: Flags, command: Command) => {
      const globals = globalsOf(command);
      await using connection = connectGrpc(await app.reach(globals));
      const request = { allNamespaces, skipWalks: !walk };
      const { entries, totals } = await gather(connection.client(Usage), request, {
        namespace: globals.namespace,
      });
      const listed = entries.filter(({ kind }) => by === undefined || kind === by);
      if (globals.output === 'json') {
        app.print(formatJson({ totals: plain(totals), entries: listed.map(plain) }));
        return;
      }
      const shown = by === undefined ? usualKinds : [by];
      const tables = shown
        .map((kind) => tableOf(kind, listed, allNamespaces))
        .filter((table) => table !== '');
      app.print([...tables, ...(by === undefined ? [totalsText(totals)] : [])].join('\n'));
    });

async function gather(
  usage: Client<typeof Usage>,
  request: Pick<DiskUsageRequest, 'allNamespaces' | 'skipWalks'>,
  call: CallOptions,
): Promise<{ entries: Entry[]; totals: Totals }> {
  const entries: Entry[] = [];
  let totals: Totals | undefined;
  try {
    for await (const { item } of usage.diskUsage(request, call)) {
      if (item.case === 'entry') entries.push(item.value);
      else if (item.case === 'totals') totals = item.value;
    }
  } catch (error) {
    if (!hasCode(error, 'Unimplemented')) throw error;
    throw new CliFailure('this daemon cannot tell what uses the disk', {
      hint: 'gantryd can; containerd has no such call, gantry images tells the sizes of images',
      cause: error,
    });
  }
  if (totals === undefined) throw new CliFailure('the daemon ended the list before its end');
  return { entries, totals };
}

const sizeOf = (bytes: bigint): string => formatSize(Number(bytes));

function tableOf(kind: string, entries: readonly Entry[], hasNamespaces: boolean): string {
  const rows = entries
    .filter((entry) => entry.kind === kind)
    .map((entry) => {
      const unknown = entry.unknown ? '+' : '';
      return [
        ...(hasNamespaces ? [entry.namespace] : []),
        ...(kind === 'snapshot' ? [] : [sizeOf(entry.contentBytes)]),
        ...(kind === 'content' || kind === 'ingest' ? [] : [sizeOf(entry.snapshotBytes) + unknown]),
        sizeOf(entry.sharedBytes),
        sizeOf(entry.uniqueBytes) + unknown,
        ...(kind === 'content' || kind === 'snapshot'
          ? [entry.garbage ? 'garbage' : String(entry.holders)]
          : []),
        kind === 'image' ? familiar(entry.id) : entry.id,
      ];
    });
  if (rows.length === 0) return '';
  const header = [
    ...(hasNamespaces ? ['NAMESPACE'] : []),
    ...(kind === 'snapshot' ? [] : ['CONTENT']),
    ...(kind === 'content' || kind === 'ingest' ? [] : ['UNPACKED']),
    'SHARED',
    'UNIQUE',
    ...(kind === 'content' || kind === 'snapshot' ? ['HOLDERS'] : []),
    kind.toUpperCase(),
  ];
  return formatTable(header, rows);
}

function totalsText(totals: Totals): string {
  const { contentCount, contentBytes, snapshotCount, snapshotBytes, ingestCount, ingestBytes } = totals;
  const used = contentBytes + snapshotBytes + ingestBytes;
  return (
    `${sizeOf(used)} in all: ${contentCount} blobs ${sizeOf(contentBytes)}, ` +
    `${snapshotCount} snapshots ${sizeOf(snapshotBytes)}, ${ingestCount} uploads ${sizeOf(ingestBytes)}\n` +
    `${sizeOf(totals.garbageBytes)} of it goes with the next collection; ` +
    `the disk has ${sizeOf(totals.diskFreeBytes)} free of ${sizeOf(totals.diskTotalBytes)}\n`
  );
}

/** Without the wire's own marks. */
const plain = (message: Entry | Totals): Record<string, unknown> =>
  Object.fromEntries(
    Object.entries(message)
      .filter(([key]) => !key.startsWith('$'))
      .map(([key, value]) => [key, typeof value === 'bigint' ? Number(value) : value]),
  );
