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

/** No call is longer, so that nobody makes us look for its parts for long. */
const bodyChars = 64;

/** Errors: InvalidArgument. */
function fill(text: string, active: readonly ActiveMount[]): string {
  let filled = '';
  let rest = text;
  for (let start = rest.indexOf('{{'); start >= 0; start = rest.indexOf('{{')) {
    const end = rest.indexOf('}}', start + 2);
    if (end < 0) throw invalidArgument(`mount placeholder ${shown(rest.slice(start))} is not closed`);
    const body = rest.slice(start + 2, end);
    if (body.length > bodyChars) throw unknown(body);
    const [before, after] = [rest.slice(0, start), rest.slice(end + 2)];
    // As in Go's templates, a dash takes the white space beside the placeholder away.
    filled += /^-\s/.test(body) ? before.trimEnd() : before;
    filled += valueOf(body.replace(/^-(?=\s)|(?<=\s)-$/g, '').trim(), active);
    rest = /\s-$/.test(body) ? after.trimStart() : after;
    if (filled.length > limits.mountTextBytes)
      throw invalidArgument(`a filled in mount option is longer than ${limits.mountTextBytes} bytes`);
  }
  return filled + rest;
}

const shown = (text: string): string => JSON.stringify(text.slice(0, bodyChars));

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
  invalidArgument(`mount placeholder ${shown(body)} is none of source N, target N, mount N, overlay N M`);

function range(start: number, end: number, active: readonly ActiveMount[]): string[] {
  const [low, high] = [Math.min(start, end), Math.max(start, end)];
  if (low < 0 || high >= active.length)
    throw invalidArgument(`invalid range: ${start}-${end}, has ${active.length} active mounts`);
  const points = active.slice(low, high + 1).map(({ mountPoint }) => mountPoint);
  return start > end ? points.reverse() : points;
}
