/**
 * Names in a layer (OCI image spec, "layer": names and whiteouts). A name is split and judged here and nowhere
 * else: what comes out has no empty, `.` or `..` component, so it cannot leave the tree by its text.
 */
import { invalidArgument } from '../../base/errors.ts';

export const whiteoutPrefix = '.wh.';
const metadataPrefix = '.wh..wh.';
const opaqueMarker = '.wh..wh..opq';

/** Components below the root, none for the root itself. Errors: InvalidArgument for `..`. */
export function splitLayerPath(path: string): string[] {
  const components = path.split('/').filter((component) => component !== '' && component !== '.');
  if (components.includes('..')) throw invalidArgument('name leaves the layer by ".."');
  return components;
}

export type LayerName =
  | { readonly kind: 'plain' }
  /** Bookkeeping of AUFS, of no meaning to others. */
  | { readonly kind: 'ignored' }
  /** What is below the directory in lower layers is hidden. */
  | { readonly kind: 'opaque' }
  | { readonly kind: 'whiteout'; readonly hides: string };

/** What an entry means by its name. Errors: InvalidArgument for a whiteout of nothing, `.` or `..`. */
export function readLayerName(components: readonly string[]): LayerName {
  const base = components.at(-1);
  if (base === undefined) return { kind: 'plain' };
  if (base === opaqueMarker) return { kind: 'opaque' };
  if (components.some((component) => component.startsWith(metadataPrefix))) return { kind: 'ignored' };
  if (!base.startsWith(whiteoutPrefix)) return { kind: 'plain' };
  const hides = base.slice(whiteoutPrefix.length);
  if (hides === '' || hides === '.' || hides === '..') throw invalidArgument('name of a whiteout is invalid');
  return { kind: 'whiteout', hides };
}
