/**
 * Takes out of a client's output what two right daemons may answer differently: times, ids made by chance, sizes on
 * disk, speeds, pids, private paths. Everything else must be the same.
 */
export interface Private {
  /** Directory prefixes of this daemon, taken out wherever they stand. */
  readonly paths: readonly string[];
}

const rules: readonly (readonly [RegExp, string])[] = [
  // oxlint-disable-next-line no-control-regex -- terminal control sequences are what is taken out
  [/\u001b\[[0-9;]*[A-Za-z]/g, ''],
  [/\r/g, '\n'],
  [/\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?( ?[+-]\d{4}( UTC)?|Z)?/g, 'TIME'],
  [/\b(About a|About an|Less than a|\d+) (second|minute|hour|day)s?( ago)?/g, 'AGE'],
  [/\belapsed: *[\d.]+ ?m?s/g, 'elapsed: DURATION'],
  [/\btotal: *[\d.]+ ?[KMG]?i?B?\s*\([\d.]+ ?[KMG]?i?B\/s\)/g, 'total: SIZE (SPEED)'],
  [/\bdone: [\d.]+m?µ?s/g, 'done: DURATION'],
  [/extract-\d+-[A-Za-z0-9_-]{4}/g, 'extract-KEY'],
  [/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g, 'UUID'],
  [/\/snapshots\/\d+\//g, '/snapshots/N/'],
  [/\/fifo\/\d+\//g, '/fifo/N/'],
  // Ids of mounts and devices, as /proc/PID/mountinfo has them.
  [/^\d+ \d+ \d+:\d+ /gm, 'MOUNT '],
  [/containerd-mount\d+/g, 'containerd-mountN'],
  [/"CreatedAt": "[^"]+"|"UpdatedAt": "[^"]+"/g, '"AT"'],
];

export function normalise(text: string, { paths }: Private): string {
  let result = text;
  for (const path of [...paths].sort((a, b) => b.length - a.length))
    result = result.replaceAll(path, 'PRIVATE');
  for (const [pattern, replacement] of rules) result = result.replace(pattern, replacement);
  return result
    .split('\n')
    .map((line) => line.replace(/[ \t]+/g, ' ').trim())
    .filter((line) => line !== '')
    .join('\n');
}

/** For lists whose order is the daemon's own business: the heading stays first, the list at the end of a line is sorted too. */
export function sortLines(text: string): string {
  const [heading, ...rest] = text
    .split('\n')
    .map((line) => line.replace(/\S+$/, (list) => list.split(',').sort().join(',')));
  return [heading, ...rest.sort()].join('\n');
}
