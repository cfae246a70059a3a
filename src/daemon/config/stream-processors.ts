/**
 * `[stream_processors.ID]`: programs that layers of some media types go through before they are unpacked.
 *
 * As with containerd there are two for encrypted layers unless the configuration has sections of these names, which then
 * stand alone: their program, ctd-decoder of ocicrypt, is looked for when such a layer comes.
 */

import type { StreamProcessor } from '../../core/diff/stream-processor.ts';
import type { ConfigTable } from '../../core/plugins/plugin.ts';

type Section = Pick<StreamProcessor, 'accepts' | 'returns' | 'path' | 'args'> & { env: readonly string[] };

const ociTar = 'application/vnd.oci.image.layer.v1.tar';

const decoder = (returns: string): Section => ({
  accepts: [`${returns}+encrypted`],
  returns,
  path: 'ctd-decoder',
  args: ['--decryption-keys-path', '/etc/containerd/ocicrypt/keys'],
  env: ['OCICRYPT_KEYPROVIDER_CONFIG=/etc/containerd/ocicrypt/ocicrypt_keyprovider.conf'],
});

const builtin: ReadonlyMap<string, Section> = new Map([
  ['io.containerd.ocicrypt.decoder.v1.tar', decoder(ociTar)],
  ['io.containerd.ocicrypt.decoder.v1.tar.gzip', decoder(`${ociTar}+gzip`)],
]);

const nothing: Section = { accepts: [], returns: '', path: '', args: [], env: [] };

/**
 * Of the table `stream_processors`: in the order of the file, the built-in ones first. Errors: InvalidArgument with file,
 * key and reason.
 */
export function readStreamProcessors(sections: ConfigTable): StreamProcessor[] {
  const given = sections.keys();
  const silent = [...builtin.keys()].filter((id) => !given.includes(id));
  return [...silent, ...given].map((id) => {
    const table = sections.table(id);
    const fallback = given.includes(id) ? nothing : (builtin.get(id) ?? nothing);
    return readOne(id, table, fallback);
  });
}

function readOne(id: string, table: ConfigTable, fallback: Section): StreamProcessor {
  const accepts = table.strings('accepts', fallback.accepts);
  const returns = table.string('returns', fallback.returns);
  const path = table.string('path', fallback.path);
  if (accepts.length === 0) throw table.wrong('accepts', 'must name the media types that it takes');
  if (returns === '') throw table.wrong('returns', 'must name the media type that it makes');
  if (path === '') throw table.wrong('path', 'must name the program');
  const args = table.strings('args', fallback.args);
  return { id, accepts, returns, path, args, env: environmentOf(table, fallback.env) };
}

function environmentOf(table: ConfigTable, fallback: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    table.strings('env', fallback).map((entry) => {
      const end = entry.indexOf('=');
      if (end < 1) throw table.wrong('env', `must have entries NAME=value, not ${JSON.stringify(entry)}`);
      return [entry.slice(0, end), entry.slice(end + 1)];
    }),
  );
}
