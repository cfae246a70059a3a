/**
 * `format/`: placeholders in source, target and options, filled in from the mounts before this one.
 *
 *   {{ mount 0 }}       mount point of the first mount           {{ source 0 }}, {{ target 0 }}
 *   {{ overlay 2 0 }}   mount points from the third to the first, with colons between: a lowerdir
 *
 * containerd runs them through Go's text/template; this knows the calls above and nothing else of that language.
 */
import { invalidArgument } from '../../base/errors.ts';
import { limits } from '../../base/limits.ts';
import type { ActiveMount } from './mount-manager.ts';
import type { Transform } from './transform.ts';

export const formatMount: Transform = (mount, active) => ({
  ...mount,
  source: fill(mount.source, active),
  target: fill(mount.target, active),
  options: mount.options.map((option) => fill(option, active)),
});

const placeholder = /\{\{(?<trimBefore>- )?\s*(?<body>[^{}]*?)\s*(?<trimAfter> -)?\}\}/g;

/** Errors: InvalidArgument. */
function fill(text: string, active: readonly ActiveMount[]): string {
  if (!text.includes('{{')) return text;
  const parts: string[] = [];
  let end = 0;
  let trims = false;
  for (const match of text.matchAll(placeholder)) {
    const before = text.slice(end, match.index);
    const trimmed = match.groups?.['trimBefore'] === undefined ? before : before.trimEnd();
    parts.push(trims ? trimmed.trimStart() : trimmed, valueOf(match.groups?.['body'] ?? '', active));
    trims = match.groups?.['trimAfter'] !== undefined;
    end = match.index + match[0].length;
  }
  const rest = text.slice(end);
  if (rest.includes('{{')) throw invalidArgument(`mount placeholder ${JSON.stringify(rest)} is not closed`);
  parts.push(trims ? rest.trimStart() : rest);
  const filled = parts.join('');
  if (filled.length > limits.mountTextBytes)
    throw invalidArgument(`a filled in mount option is longer than ${limits.mountTextBytes} bytes`);
  return filled;
}

function valueOf(body: string, active: readonly ActiveMount[]): string {
  const [name = '', ...words] = body.split(/\s+/);
  const numbers = words.map((word) => (/^-?\d{1,4}$/.test(word) ? Number(word) : Number.NaN));
  const [first, second] = numbers;
  const takes = name === 'overlay' ? 2 : 1;
  if (numbers.length !== takes || numbers.some(Number.isNaN) || first === undefined) throw unknown(body);
  if (name === 'overlay' && second !== undefined) return range(first, second, active).join(':');
  const at = active[first];
  if (at === undefined)
    throw invalidArgument(`index out of bounds: ${first}, has ${active.length} active mounts`);
  if (name === 'mount') return at.mountPoint;
  if (name === 'source') return at.mount.source;
  if (name === 'target') return at.mount.target;
  throw unknown(body);
}

const unknown = (body: string): Error =>
  invalidArgument(
    `mount placeholder ${JSON.stringify(body)} is none of source N, target N, mount N, overlay N M`,
  );

function range(start: number, end: number, active: readonly ActiveMount[]): string[] {
  const [low, high] = [Math.min(start, end), Math.max(start, end)];
  if (low < 0 || high >= active.length)
    throw invalidArgument(`invalid range: ${start}-${end}, has ${active.length} active mounts`);
  const points = active.slice(low, high + 1).map(({ mountPoint }) => mountPoint);
  return start > end ? points.reverse() : points;
}
