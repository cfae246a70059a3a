/** `gantry inspect`: all that is known of containers or images, as JSON. */
import { Command } from 'commander';
import { formatInstant } from '../../base/time.ts';
import { type ContainerRecord, type GantryClient, hasCode, type Image, specOf } from '../../client/index.ts';
import { type App, globalsOf } from '../app.ts';
import { maybeFindContainer, nameOf } from '../container-names.ts';
import { stateIfAny } from '../container-remove.ts';
import { CliFailure } from '../failure.ts';
import { maybeFindImage } from '../image-names.ts';
import { formatJson } from '../table.ts';
import { statusOf } from './ps.ts';

export const inspectCommand = (app: App): Command =>
  new Command('inspect')
    .summary('show all that is known of a container or image')
    .description(
      'Prints a JSON list with an object for each; a container when a container has that name, else an image.',
    )
    .argument('<name...>', 'containers or images')
    .addHelpText(
      'after',
      `
Examples:
  gantry inspect web
  gantry inspect alpine | jq '.[0].config'`,
    )
    .action(async (texts: string[], _flags: unknown, command: Command) => {
      await using gantry = await app.connect(globalsOf(command));
      const found: unknown[] = [];
      for (const text of texts) found.push(await inspect(gantry, text));
      app.print(formatJson(found));
    });

async function inspect(gantry: GantryClient, text: string): Promise<unknown> {
  const container = await maybeFindContainer(gantry, text);
  if (container !== undefined) return await containerJson(gantry, container);
  const image = await maybeFindImage(gantry, text);
  if (image !== undefined) return await imageJson(gantry, image);
  throw new CliFailure(`there is neither a container nor an image ${JSON.stringify(text)}`, {
    hint: 'gantry ps -a and gantry images list what there is',
  });
}

async function containerJson(gantry: GantryClient, container: ContainerRecord): Promise<unknown> {
  const state = await stateIfAny(gantry.tasks.task(container.id));
  return {
    kind: 'container',
    id: container.id,
    name: nameOf(container),
    image: container.image,
    createdAt: formatInstant(container.createdAt),
    updatedAt: formatInstant(container.updatedAt),
    state: {
      status: statusOf(state),
      pid: state?.pid ?? 0,
      exitCode: state?.status === 'stopped' ? state.exitStatus : null,
      exitedAt: state?.exitedAt === undefined ? null : formatInstant(state.exitedAt),
      stdin: state?.stdin ?? '',
      stdout: state?.stdout ?? '',
      stderr: state?.stderr ?? '',
      terminal: state?.terminal ?? false,
    },
    runtime: container.runtime.name,
    snapshotter: container.snapshotter,
    snapshotKey: container.snapshotKey,
    labels: container.labels,
    extensions: Object.keys(container.extensions),
    sandbox: container.sandbox,
    spec: container.spec === undefined ? null : specOf(container),
  };
}

async function imageJson(gantry: GantryClient, image: Image): Promise<unknown> {
  const base = {
    kind: 'image',
    name: image.name,
    target: image.target,
    labels: image.labels,
    createdAt: formatInstant(image.createdAt),
    updatedAt: formatInstant(image.updatedAt),
  };
  try {
    const { manifest, configDescriptor, layers, config, sizeBytes } = await gantry.images.content(image);
    return { ...base, manifest, configDescriptor, layers, sizeBytes, ...config };
  } catch (error) {
    // Not all of it may be here: what is known is still worth showing.
    if (hasCode(error, 'NotFound')) return { ...base, incomplete: (error as Error).message };
    throw error;
  }
}
