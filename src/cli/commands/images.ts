/** `gantry images`: what is here, and how large. */
import { Command } from 'commander';
import { formatInstant } from '../../base/time.ts';
import { type GantryClient, hasCode, type Image, type ImageUsage } from '../../client/index.ts';
import { type App, type GlobalOptions, globalsOf, outputOption } from '../app.ts';
import { familiar } from '../image-names.ts';
import { formatAge, formatSize } from '../units.ts';

export const imagesCommand = (app: App): Command =>
  new Command('images')
    .summary('list images')
    .description(
      'Lists the images that are here. CONTENT is what was fetched, UNPACKED what its layers take as file systems; ' +
        'layers that images share are counted in each.',
    )
    .argument('[name]', 'only those whose name holds this')
    .option('-q, --quiet', 'only print names')
    .option('--digests', 'print digests in full')
    .addOption(outputOption())
    .addHelpText(
      'after',
      `
Examples:
  gantry images
  gantry images alpine
  gantry images -o json`,
    )
    .action(async (name: string | undefined, flags: ImagesFlags, command: Command) => {
      const globals = globalsOf(command);
      await using gantry = await app.connect(globals);
      const images = (await gantry.images.list()).filter((image) => image.name.includes(name ?? ''));
      if (flags.quiet === true) {
        app.print(images.map((image) => `${image.name}\n`).join(''));
        return;
      }
      const listed: Listed[] = [];
      for (const image of images) listed.push({ image, usage: await usageIfAny(gantry, image, globals) });
      app.show(globals.output, listed.map(jsonOf), {
        header: ['IMAGE', 'DIGEST', 'CREATED', 'CONTENT', 'UNPACKED'],
        rows: listed.map((each) => cellsOf(each, flags, app.around.nowMs())),
      });
    });

interface ImagesFlags {
  readonly quiet?: boolean;
  readonly digests?: boolean;
}

interface Listed {
  readonly image: Image;
  readonly usage: ImageUsage | undefined;
}

/** undefined when it is not here in whole, or is no image that this machine runs. */
async function usageIfAny(
  gantry: GantryClient,
  image: Image,
  { snapshotter }: GlobalOptions,
): Promise<ImageUsage | undefined> {
  try {
    return await gantry.images.usage(image, { snapshotter });
  } catch (error) {
    if (hasCode(error, 'NotFound') || hasCode(error, 'InvalidArgument') || hasCode(error, 'DataLoss'))
      return undefined;
    throw error;
  }
}

const cellsOf = ({ image, usage }: Listed, { digests }: ImagesFlags, nowMs: number): string[] => [
  familiar(image.name),
  digests === true ? image.target.digest : image.target.digest.slice('sha256:'.length, 'sha256:'.length + 12),
  formatAge(image.createdAt, nowMs),
  usage === undefined ? '-' : formatSize(usage.contentBytes),
  usage?.snapshotBytes === undefined ? '-' : formatSize(usage.snapshotBytes),
];

const jsonOf = ({ image, usage }: Listed): unknown => ({
  name: image.name,
  digest: image.target.digest,
  mediaType: image.target.mediaType,
  createdAt: formatInstant(image.createdAt),
  contentBytes: usage?.contentBytes ?? null,
  snapshotBytes: usage?.snapshotBytes ?? null,
  labels: image.labels,
});
