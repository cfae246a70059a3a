/** NRI's multiplexing: payloads come out alike however the bytes come, and nothing is held beside a header. */
import assert from 'node:assert/strict';
import { encodeMux, MuxParser, muxPayloadBytes } from '../../../src/wire/ttrpc/mux-frame.ts';
import { type FuzzTarget, piecesOf } from '../fuzz-target.ts';

interface Found {
  readonly connectionId: number;
  bytes: Buffer;
}

/** Payloads with neighbours of one connection put together: where they were cut says nothing. */
function parse(pieces: readonly Buffer[]): { found: Found[]; idle: boolean } {
  const parser = new MuxParser();
  const found: Found[] = [];
  for (const piece of pieces)
    for (const { connectionId, bytes } of parser.push(piece)) {
      assert.ok(bytes.length > 0 && bytes.length <= muxPayloadBytes);
      const last = found.at(-1);
      if (last?.connectionId === connectionId) last.bytes = Buffer.concat([last.bytes, bytes]);
      else found.push({ connectionId, bytes });
    }
  return { found, idle: parser.idle };
}

export const nriMux: FuzzTarget = {
  name: 'nri-mux',
  seeds: [
    encodeMux(1, Buffer.from('plugin')),
    Buffer.concat([
      encodeMux(1, Buffer.alloc(3000, 'x')),
      encodeMux(2, Buffer.from('y')),
      encodeMux(0, Buffer.alloc(0)),
    ]),
  ],
  hostile: [
    Buffer.from('00000001ffffffff', 'hex'),
    Buffer.from('000000010040000a', 'hex'),
    Buffer.from('000000010040000b00', 'hex'),
    Buffer.alloc(8),
  ],
  refusals: ['ResourceExhausted'],
  check(input) {
    const whole = parse([input]);
    assert.deepEqual(parse(piecesOf(input)), whole);
    const total = whole.found.reduce((sum, { bytes }) => sum + bytes.length, 0);
    assert.ok(total <= input.length);
  },
};
