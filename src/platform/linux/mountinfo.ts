/**
 * /proc/self/mountinfo (proc_pid_mountinfo(5)). Blanks, newlines and backslashes inside a field are octal escapes.
 * Lines that do not parse are left out: the file is the kernel's, and a new format must not stop an unmount.
 */
import type { MountInfo } from '../platform.ts';

export function unescapeField(field: string): string {
  if (!field.includes('\\')) return field;
  // Escapes are bytes of UTF-8 and not characters, so they are put back as bytes.
  const bytes = Buffer.from(field).toString('latin1');
  const plain = bytes.replace(/\\([0-3][0-7]{2})/g, (_, octal: string) =>
    String.fromCharCode(Number.parseInt(octal, 8)),
  );
  return Buffer.from(plain, 'latin1').toString();
}

function parseLine(line: string): MountInfo | undefined {
  const fields = line.split(' ');
  const separator = fields.indexOf('-', 6);
  const [id, parentId, , root, mountPoint, options] = fields;
  const [type, source, superOptions] = fields.slice(separator + 1);
  if (separator < 0 || root === undefined || mountPoint === undefined || options === undefined)
    return undefined;
  if (type === undefined || source === undefined) return undefined;
  return {
    id: Number(id),
    parentId: Number(parentId),
    root: unescapeField(root),
    mountPoint: unescapeField(mountPoint),
    options: options.split(','),
    fileSystemType: unescapeField(type),
    source: unescapeField(source),
    superOptions: unescapeField(superOptions ?? '').split(','),
  };
}

export function parseMountInfo(text: string): MountInfo[] {
  return text
    .split('\n')
    .map(parseLine)
    .filter((mount) => mount !== undefined);
}
