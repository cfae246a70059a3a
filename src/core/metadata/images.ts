/** Images in the database. An image that expires joins the lease of the call that makes it. */
import { isDeepStrictEqual } from 'node:util';
import type { NamespacedContext } from '../../base/context.ts';
import type { Digest } from '../../base/digest.ts';
import { absent, alreadyExists, invalidArgument, notFound } from '../../base/errors.ts';
import { applyMask } from '../../base/field-mask.ts';
import type { ImageName } from '../../base/identifiers.ts';
import { checkLabels, type Labels, labelOf, withLabel, withoutEmptyLabels } from '../../base/labels.ts';
import { now } from '../../base/time.ts';
import type { Descriptor } from '../../oci/descriptor.ts';
import {
  ImageCreateSchema,
  ImageDeleteSchema,
  ImageUpdateSchema,
} from '../../wire/gen/containerd/events/image_pb.js';
import { mapField, parseFilters } from '../filters/filter.ts';
import { gcLabels } from '../gc/gc-labels.ts';
import type { Image, ImageChange, ImageStore, NewImage } from '../images/image-store.ts';
import { instant, integer, labels, text } from './columns.ts';
import type { Row, Sql } from './database.ts';
import { ensureNamespace, joinLease, publishEvent, type StoreDependencies } from './store-base.ts';

export class MetadataImageStore implements ImageStore {
  readonly #dependencies: StoreDependencies;

  constructor(dependencies: StoreDependencies) {
    this.#dependencies = dependencies;
  }

  async get(ctx: NamespacedContext, name: ImageName): Promise<Image> {
    return this.#dependencies.database.read((sql) => require(sql, ctx, name));
  }

  async list(ctx: NamespacedContext, filters: readonly string[]): Promise<Image[]> {
    const passes = parseFilters(filters);
    return this.#dependencies.database.read((sql) => {
      const images: Image[] = [];
      for (const row of sql.iterate(
        'SELECT * FROM images WHERE namespace = ? ORDER BY name',
        ctx.namespace,
      )) {
        const image = imageOf(row);
        if (passes((path) => field(image, path))) images.push(image);
      }
      return images;
    });
  }

  async create(ctx: NamespacedContext, image: NewImage): Promise<Image> {
    const at = image.at ?? now();
    const created = checked({ ...image, createdAt: at, updatedAt: at });
    await this.#dependencies.database.write((sql) => {
      if (find(sql, ctx, image.name) !== undefined) throw alreadyExists('image', image.name);
      ensureNamespace(sql, ctx.namespace);
      put(sql, ctx, created);
      if (labelOf(created.labels, gcLabels.expire) !== undefined) joinLease(sql, ctx, 'images', image.name);
    });
    this.#dependencies.changes.written();
    await publishEvent(this.#dependencies, ctx, '/images/create', ImageCreateSchema, {
      name: created.name,
      labels: created.labels,
    });
    return created;
  }

  async update(ctx: NamespacedContext, image: ImageChange, paths: readonly string[]): Promise<Image> {
    const { updated, orphans } = await this.#dependencies.database.write((sql) => {
      const current = require(sql, ctx, image.name);
      const next = checked({ ...masked(current, image, paths), updatedAt: image.at ?? now() });
      put(sql, ctx, next);
      const mayOrphan =
        next.target.digest !== current.target.digest || !isDeepStrictEqual(next.labels, current.labels);
      return { updated: next, orphans: mayOrphan };
    });
    if (orphans) this.#dependencies.changes.deleted();
    else this.#dependencies.changes.written();
    await publishEvent(this.#dependencies, ctx, '/images/update', ImageUpdateSchema, {
      name: updated.name,
      labels: updated.labels,
    });
    return updated;
  }

  async delete(
    ctx: NamespacedContext,
    name: ImageName,
    { target, sync = false }: { target?: Digest; sync?: boolean },
  ): Promise<void> {
    await this.#dependencies.database.write((sql) => {
      const current = require(sql, ctx, name);
      if (target !== undefined && current.target.digest !== target)
        throw absent(`image ${JSON.stringify(name)} has target ${current.target.digest}, not ${target}`);
      sql.run('DELETE FROM images WHERE namespace = ? AND name = ?', ctx.namespace, name);
    });
    this.#dependencies.changes.deleted();
    await publishEvent(this.#dependencies, ctx, '/images/delete', ImageDeleteSchema, { name });
    if (sync) await this.#dependencies.changes.collect(ctx);
  }
}

const find = (sql: Sql, ctx: NamespacedContext, name: ImageName): Row | undefined =>
  sql.get('SELECT * FROM images WHERE namespace = ? AND name = ?', ctx.namespace, name);

function require(sql: Sql, ctx: NamespacedContext, name: ImageName): Image {
  const row = find(sql, ctx, name);
  if (row === undefined) throw notFound('image', name);
  return imageOf(row);
}

function imageOf(row: Row): Image {
  const annotations = labels(row, 'annotations');
  return {
    name: text(row, 'name') as ImageName,
    target: {
      mediaType: text(row, 'media_type'),
      digest: text(row, 'digest') as Digest,
      sizeBytes: integer(row, 'size'),
      ...(Object.keys(annotations).length > 0 ? { annotations } : {}),
    },
    labels: labels(row),
    createdAt: instant(row, 'created_at'),
    updatedAt: instant(row, 'updated_at'),
  };
}

function put(sql: Sql, ctx: NamespacedContext, image: Image): void {
  sql.run(
    `INSERT OR REPLACE INTO images
     (namespace, name, media_type, digest, size, annotations, labels, created_at, updated_at)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    ctx.namespace,
    image.name,
    image.target.mediaType,
    image.target.digest,
    image.target.sizeBytes,
    JSON.stringify(image.target.annotations ?? {}),
    JSON.stringify(image.labels),
    image.createdAt,
    image.updatedAt,
  );
}

/** Errors: InvalidArgument. */
function checked(image: Omit<Image, 'updatedAt'> & { updatedAt: Image['updatedAt'] }): Image {
  const { name, target, createdAt, updatedAt } = image;
  if (name === '') throw invalidArgument('Image.Name required');
  if (target.mediaType === '') throw invalidArgument('Target.MediaType must be set');
  if (!(target.sizeBytes > 0)) throw invalidArgument('Target.Size must be greater than zero');
  checkLabels(image.labels, 'image.Labels');
  const annotations = withoutEmptyLabels(target.annotations ?? {});
  return {
    name,
    target: {
      mediaType: target.mediaType,
      digest: target.digest,
      sizeBytes: target.sizeBytes,
      ...(Object.keys(annotations).length > 0 ? { annotations } : {}),
    },
    labels: withoutEmptyLabels(image.labels),
    createdAt,
    updatedAt,
  };
}

function requireTarget({ name, target }: ImageChange): Descriptor {
  if (target === undefined) throw invalidArgument(`image ${JSON.stringify(name)}: target must be set`);
  return target;
}

const annotationsOf = ({ annotations, target }: ImageChange): Labels =>
  annotations ?? target?.annotations ?? {};

function masked(current: Image, given: ImageChange, paths: readonly string[]): Omit<Image, 'updatedAt'> {
  if (paths.length === 0) return { ...current, target: requireTarget(given), labels: given.labels };
  let { labels: nextLabels, target } = current;
  applyMask(`image ${JSON.stringify(given.name)}`, paths, {
    labels: {
      whole: () => {
        nextLabels = given.labels;
      },
      entry: (key) => {
        nextLabels = withLabel(nextLabels, key, labelOf(given.labels, key) ?? '');
      },
    },
    target: {
      whole: () => {
        // Annotations have paths of their own beside `target`, but belong to it.
        target = requireTarget(given);
      },
    },
    annotations: {
      whole: () => {
        target = { ...target, annotations: annotationsOf(given) };
      },
      entry: (key) => {
        const value = labelOf(annotationsOf(given), key) ?? '';
        target = { ...target, annotations: withLabel(target.annotations ?? {}, key, value) };
      },
    },
  });
  return { ...current, labels: nextLabels, target };
}

function field(image: Image, path: readonly string[]): string | undefined {
  switch (path[0]) {
    case 'name':
      return present(image.name);
    case 'target':
      if (path[1] === 'digest') return present(image.target.digest);
      return path[1] === 'mediatype' ? present(image.target.mediaType) : undefined;
    case 'labels':
      return mapField(image.labels, path);
    case 'annotations':
      return mapField(image.target.annotations ?? {}, path);
    default:
      return undefined;
  }
}

/** Clients take an empty field for an absent one. */
const present = (value: string): string | undefined => (value === '' ? undefined : value);
