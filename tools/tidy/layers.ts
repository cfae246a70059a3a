/** The layers of src, and what each may import: the one table. ARCHITECTURE.md shows it, and a test compares them. */

export interface LayerRule {
  readonly may: readonly string[];
  /** May be imported as types. */
  readonly types?: readonly string[];
  /** What to do in place of any other import. */
  readonly instead: string;
}

const ask = 'pass it in by constructor, typed by a contract of the layer below';

/** From the lowest to the highest. */
export const layers: Readonly<Record<string, LayerRule>> = {
  base: { may: [], instead: 'base stands alone: move the part that knows more up' },
  platform: { may: ['base'], instead: ask },
  oci: { may: ['base'], instead: 'oci holds words of OCI only: move what acts on them to core' },
  wire: {
    may: ['base'],
    types: ['platform', 'oci'],
    instead: 'wire carries messages: let core or services act on them',
  },
  core: { may: ['wire', 'oci', 'platform', 'base'], instead: `core must not know who serves it: ${ask}` },
  services: { may: ['core', 'wire', 'oci', 'platform', 'base'], instead: ask },
  cri: { may: ['services', 'core', 'wire', 'oci', 'platform', 'base'], instead: ask },
  shim: {
    may: ['wire', 'oci', 'platform', 'base'],
    instead: 'the shim lives without the daemon: move what both need to oci, platform or base',
  },
  client: {
    may: ['wire', 'oci', 'base'],
    types: ['core', 'platform'],
    instead: 'the client reaches the daemon by its API only',
  },
  cli: {
    may: ['client', 'wire', 'oci', 'platform', 'base'],
    types: ['core'],
    instead: 'the command line uses src/client, as any program can',
  },
  daemon: {
    may: ['services', 'cri', 'core', 'wire', 'oci', 'platform', 'base'],
    instead: 'the daemon composes; it has no use for clients or shims',
  },
  testing: {
    may: ['services', 'cri', 'core', 'client', 'shim', 'wire', 'oci', 'platform', 'base'],
    instead: 'testing may use anything below daemon',
  },
};

/** As ARCHITECTURE.md shows it, a line for each layer. */
export const layerTable = (): string[] =>
  Object.entries(layers)
    .toReversed()
    .map(
      ([layer, { may, types = [] }]) =>
        `| ${layer} | ${may.join(', ') || '–'} | ${types.join(', ') || '–'} |`,
    );
