/** Sizes of a terminal as they come in a stream of JSON objects, `{"Width":80,"Height":24}`: only the newest counts. */
import { limits } from '../../base/limits.ts';
import type { ByteSource, TerminalSize } from './streaming-runtime.ts';

const object = /\{[^{}]*\}/g;

/**
 * None without a stream. What cannot be read is passed over, and sizes that newer ones have overtaken. The bytes may be cut anywhere. A stream
 * that has no end of an object for longer than a size can be is not read any more.
 */
export async function* parseResizes(bytes: ByteSource | undefined): AsyncGenerator<TerminalSize, void> {
  if (bytes === undefined) return;
  let text = '';
  for await (const chunk of bytes) {
    text += Buffer.from(chunk).toString('latin1');
    let newest: TerminalSize | undefined;
    let readTo = 0;
    for (const match of text.matchAll(object)) {
      newest = parseSize(match[0]) ?? newest;
      readTo = match.index + match[0].length;
    }
    text = text.slice(readTo);
    if (newest !== undefined) yield newest;
    if (text.length > limits.criStreamResizeBytes) return;
  }
}

function parseSize(text: string): TerminalSize | undefined {
  try {
    const { Width: width, Height: height } = JSON.parse(text) as { Width?: unknown; Height?: unknown };
    return isLength(width) && isLength(height) ? { width, height } : undefined;
  } catch {
    return undefined;
  }
}

/** As the kernel's winsize keeps it (ioctl_tty(2)); 0 is a terminal that is not shown. */
const isLength = (value: unknown): value is number =>
  typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= 65_535;
