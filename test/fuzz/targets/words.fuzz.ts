/** Small words of clients, images and settings: platforms, durations, users. */
import assert from 'node:assert/strict';
import { formatDurationMs, parseDurationMs } from '../../../src/core/plugins/duration.ts';
import { compatibleMatcher, formatPlatform, parsePlatform } from '../../../src/oci/platform.ts';
import { resolveUser } from '../../../src/oci/users.ts';
import { type FuzzTarget, mustTake, textOf } from '../fuzz-target.ts';

export const platform: FuzzTarget = {
  name: 'platform',
  seeds: [
    'linux',
    'arm64',
    'linux/arm/v7',
    'linux/amd64/v3',
    'windows(10.0.17763+win32k)/amd64',
    'macos/aarch64',
  ],
  hostile: [
    'linux/amd64/v999999999',
    'linux/arm/v1e9',
    'linux/amd64/v8.5',
    'linux/arm/v0x7fffffff',
    '__proto__/x',
    'constructor',
  ],
  words: ['linux', 'windows', '/', 'amd64', 'arm', 'arm64', 'v7', 'v8', '(', '+', ')'],
  refusals: ['InvalidArgument'],
  check(input) {
    const parsed = parsePlatform(textOf(input));
    const matcher = compatibleMatcher(parsed);
    assert.ok(matcher.matches(parsed) || parsed.os === 'windows', 'a platform does not match itself');
    assert.equal(matcher.compare(parsed, parsed), 0);
    const { osVersion: _, osFeatures: __, ...plain } = parsed;
    assert.deepEqual(
      mustTake('what was printed', () => parsePlatform(formatPlatform(parsed))),
      plain,
    );
  },
};

/** Go's durations are 64 bits of nanoseconds. */
const maxDurationMs = 2 ** 63 / 1e6;

export const duration: FuzzTarget = {
  name: 'duration',
  seeds: ['0', '1h30m', '100ms', '-1.5s', '.5us', '3µs', '10ns'],
  hostile: [`${'9'.repeat(400)}h`, '2562048h', '1'.repeat(4000), '1.1.1s', '__proto__'],
  words: ['h', 'm', 's', 'ms', 'us', 'µs', 'ns', '.', '+'],
  refusals: [],
  check(input) {
    const durationMs = parseDurationMs(textOf(input));
    if (durationMs === undefined) return;
    assert.ok(Math.abs(durationMs) <= maxDurationMs, `${durationMs} ms`);
    const again = parseDurationMs(formatDurationMs(durationMs));
    assert.ok(again !== undefined && Math.abs(again - durationMs) <= Math.abs(durationMs) * 1e-9 + 1e-6);
  },
};

export const user: FuzzTarget = {
  name: 'user',
  seeds: [
    'www\nroot:x:0:0:root:/root:/bin/sh\nwww:x:33:33::/:\n\0root:x:0:\nwww:x:33:\nadm:x:4:www,x\n',
    '1000:1000\n\0',
    'www:adm\nwww:x:33:33\n\0adm:x:4:\n',
  ],
  hostile: ['4294967295\n\0', '__proto__\n\0', 'a:b:c\n\0', 'x\nx:x:4294967295:0\n\0'],
  words: [':', '\n', '\0', 'www', 'adm', '4294967294'],
  refusals: ['InvalidArgument', 'NotFound'],
  check(input) {
    const [first = '', group = ''] = textOf(input).split('\0');
    const [text = '', ...passwd] = first.split('\n');
    const { uid, gid, additionalGids = [] } = resolveUser(text, passwd.join('\n'), group);
    for (const id of [uid, gid, ...additionalGids])
      assert.ok(Number.isInteger(id) && id >= 0 && id < 0xffff_ffff, `id ${id}`);
    assert.equal(additionalGids[0], gid);
  },
};
