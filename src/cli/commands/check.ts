/** `gantry check`: the database against the disk. Exit codes: 0 clean, 1 findings left, 2 could not check. */
import { Command, Option } from 'commander';
import type { Finding, RunResponse, Summary } from '../../wire/gen/gantry/check/v1/check_pb.js';
import { type App, globalsOf, outputOption } from '../app.ts';
import { type CheckOptions, checkByDaemon, checkOffline } from '../check-stream.ts';
import { asFailure, CliFailure } from '../failure.ts';
import { formatJson, printable } from '../table.ts';
import { formatSize } from '../units.ts';

interface CheckFlags {
  readonly repair?: true;
  readonly digests: string;
  readonly seed?: string;
  readonly root?: string;
  readonly state?: string;
  readonly config?: string;
  readonly plainHttp?: true;
}

const codes = { findingsLeft: 1, notChecked: 2 } as const;

export const checkCommand = (app: App): Command =>
  new Command('check')
    .summary('compare the database with the disk')
    .description(
      "Looks for what is missing, damaged or left over in the daemon's store, in all namespaces, and says what it breaks. " +
        'With --repair, blobs are fetched again from where they came from; what cannot be brought back is dropped, and it ' +
        'says so. Nothing that is being written is touched. Exit codes: 0 all is well, 1 there are findings left, 2 it ' +
        'could not be checked.',
    )
    .option('--repair', 'bring back or drop what is damaged, and collect what is left over')
    .addOption(
      new Option(
        '--digests <which>',
        'blobs that are read and compared with their digests: sample is every small one and a tenth of the others',
      )
        .choices(['none', 'sample', 'full'])
        .default('sample'),
    )
    .option('--seed <number>', 'choose the sample of an earlier check')
    .option('--root <folder>', 'check this root, while no daemon runs on it')
    .option('--state <folder>', 'the state that belongs to it')
    .option('--config <file>', 'the configuration that belongs to it')
    .option('--plain-http', 'speak http with registries that hosts.toml does not tell of')
    .addOption(outputOption())
    .addHelpText(
      'after',
      '\nExamples:\n  gantry check\n  gantry check --digests full --repair\n  gantry check --root /var/lib/gantry -o json',
    )
    .action(async (flags: CheckFlags, command: Command) => {
      const globals = globalsOf(command);
      using interruption = app.interruption();
      const options: CheckOptions = {
        digests: flags.digests,
        seed: seedOf(app, flags.seed),
        repair: flags.repair === true,
        plainHttp: flags.plainHttp === true,
      };
      const isJson = globals.output === 'json';
      try {
        const events =
          flags.root === undefined
            ? checkByDaemon(await app.reach(globals), options, interruption.signal)
            : checkOffline(
                app.around,
                { root: flags.root, state: flags.state, config: flags.config },
                options,
                interruption.signal,
              );
        const { findings, summary } = await gather(app, events, isJson);
        if (isJson)
          app.print(formatJson({ seed: options.seed, ...plain(summary), findings: findings.map(plain) }));
        else app.print(summaryText(summary, options));
        if (summary.left > 0) app.exitCode = codes.findingsLeft;
      } catch (error) {
        const { message, hint } = asFailure(error);
        throw new CliFailure(`the store could not be checked: ${message}`, {
          ...(hint !== undefined && { hint }),
          exitCode: codes.notChecked,
          cause: error,
        });
      }
    });

/** Errors: CliFailure for another form. */
function seedOf(app: App, text: string | undefined): number {
  if (text === undefined) return Math.trunc(app.around.nowMs()) % 2 ** 32;
  const seed = Number(text);
  if (!/^[0-9]+$/.test(text) || seed >= 2 ** 32)
    throw new CliFailure(`--seed must be a number below 2^32, not ${JSON.stringify(text)}`, {
      exitCode: codes.notChecked,
    });
  return seed;
}

async function gather(
  app: App,
  events: AsyncIterable<RunResponse>,
  isJson: boolean,
): Promise<{ findings: Finding[]; summary: Summary }> {
  const findings: Finding[] = [];
  let summary: Summary | undefined;
  for await (const { content } of events) {
    if (content.case === 'summary') summary = content.value;
    if (content.case !== 'finding') continue;
    if (isJson) findings.push(content.value);
    else app.print(findingText(content.value));
  }
  if (summary === undefined) throw new CliFailure('the daemon ended the check before its end');
  return { findings, summary };
}

/** Without the wire's own marks. */
const plain = (message: Finding | Summary): Record<string, unknown> =>
  Object.fromEntries(
    Object.entries(message)
      .filter(([key]) => !key.startsWith('$'))
      .map(([key, value]) => [key, typeof value === 'bigint' ? Number(value) : value]),
  );

function findingText(finding: Finding): string {
  const { severity, kind, what, namespace, where, problem, breaks, remedy, outcome, detail } = finding;
  const place = namespace === '' ? '' : ` (namespace ${namespace})`;
  const lines = [
    `${severity}: ${what}${place}: ${problem} [${kind}]`,
    ...(where === what ? [] : [`  where:  ${where}`]),
    ...breaks.map((broken) => `  breaks: ${broken}`),
    outcome === 'repaired'
      ? `  repair: ${detail}`
      : `  ${outcome === 'left' ? 'left:  ' : 'remedy:'} ${detail || remedy}`,
  ];
  return lines.map((line) => `${printable(line)}\n`).join('');
}

function summaryText(summary: Summary, { digests, seed }: CheckOptions): string {
  const { left, repaired, notices } = summary;
  const how = digests === 'sample' ? `, sample ${seed}` : '';
  const read =
    `${summary.blobs} blobs (${formatSize(Number(summary.blobBytes))}), ${summary.hashedBlobs} of them read whole` +
    ` (${formatSize(Number(summary.hashedBytes))}${how}); ${summary.ingests} ingests, ${summary.snapshots} snapshots, ` +
    `${summary.images} images, ${summary.containers} containers, ${summary.leases} leases`;
  const verdict = left > 0 ? `${left} findings left` : 'all is well';
  const others = [
    ...(repaired > 0 ? [`${repaired} repaired`] : []),
    ...(notices > 0 ? [`${notices} that the daemon puts right by itself`] : []),
  ];
  return `checked ${read}\n${[verdict, ...others].join(', ')}\n`;
}
