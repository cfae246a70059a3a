/** Platforms: spelling, matching and ranking as containerd's clients expect them. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import * as fc from 'fast-check';
import { hasCode } from '../base/errors.ts';
import {
  compatibleMatcher,
  formatPlatform,
  hostPlatform,
  normalisePlatform,
  orderedMatcher,
  type Platform,
  parsePlatform,
  parsePlatformJson,
  platformJson,
} from './platform.ts';

const linux = (architecture: string, variant?: string): Platform => ({
  os: 'linux',
  architecture,
  ...(variant !== undefined && { variant }),
});

void describe('parsePlatform', () => {
  const table: [text: string, formatted: string][] = [
    ['linux/amd64', 'linux/amd64'],
    ['linux/x86_64', 'linux/amd64'],
    ['linux/amd64/v1', 'linux/amd64'],
    ['linux/amd64/v3', 'linux/amd64/v3'],
    ['linux/aarch64', 'linux/arm64'],
    ['linux/arm64/v8', 'linux/arm64'],
    ['linux/arm', 'linux/arm/v7'],
    ['linux/arm/6', 'linux/arm/v6'],
    ['linux/armhf', 'linux/arm/v7'],
    ['linux/armel', 'linux/arm/v6'],
    ['Linux/AMD64', 'linux/amd64'],
    ['macos/arm64', 'darwin/arm64'],
    ['linux/i386', 'linux/386'],
    ['s390x', `${hostPlatform().os}/s390x`],
  ];
  for (const [text, formatted] of table)
    void it(`${text} is ${formatted}`, () => assert.equal(formatPlatform(parsePlatform(text)), formatted));

  void it('an os alone is the host architecture', () => {
    assert.deepEqual(parsePlatform('linux'), { ...hostPlatform(), os: 'linux' });
  });
  void it('keeps os version and features', () => {
    const platform = parsePlatform('windows(10.0.17763+win32k)/amd64');
    assert.deepEqual(platform, {
      os: 'windows',
      architecture: 'amd64',
      osVersion: '10.0.17763',
      osFeatures: ['win32k'],
    });
  });
  void it('a name of Object is an architecture like any other', () => {
    assert.equal(parsePlatform('linux/constructor').architecture, 'constructor');
    assert.equal(normalisePlatform({ os: 'linux', architecture: '__proto__' }).architecture, '__proto__');
  });
  for (const bad of ['', 'constructor', 'linux/', '*/amd64', 'nosuch', 'a/b/c/d', 'linux/amd 64'])
    void it(`refuses ${JSON.stringify(bad)}`, () =>
      assert.throws(
        () => parsePlatform(bad),
        (error) => hasCode(error, 'InvalidArgument'),
      ));

  void it('formatting and parsing give the same platform', () => {
    const architecture = fc.constantFrom('amd64', 'arm64', 'arm', '386', 'riscv64', 's390x');
    const variant = fc.constantFrom(undefined, 'v5', 'v6', 'v7', 'v8', 'v2', 'v9');
    fc.assert(
      fc.property(architecture, variant, (name, version) => {
        const platform = normalisePlatform(linux(name, version));
        assert.deepEqual(parsePlatform(formatPlatform(platform)), platform);
        assert.deepEqual(normalisePlatform(platform), platform);
        assert.deepEqual(parsePlatformJson(platformJson(platform), 'p'), platform);
      }),
    );
  });
});

void describe('matchers', () => {
  const best = (wanted: Platform, offered: Platform[]): string[] => {
    const matcher = compatibleMatcher(wanted);
    return offered
      .filter((platform) => matcher.matches(platform))
      .toSorted((a, b) => matcher.compare(a, b))
      .map(formatPlatform);
  };
  void it('arm takes lower variants, the highest first', () => {
    const offered = [
      linux('arm', 'v5'),
      linux('arm', 'v8'),
      linux('arm', 'v6'),
      linux('arm64'),
      linux('arm', 'v7'),
    ];
    assert.deepEqual(best(linux('arm', 'v7'), offered), ['linux/arm/v7', 'linux/arm/v6', 'linux/arm/v5']);
  });
  void it('amd64 takes lower micro-architecture levels and then 386', () => {
    const offered = [
      linux('386'),
      linux('amd64'),
      linux('amd64', 'v4'),
      linux('amd64', 'v2'),
      linux('amd64', 'v3'),
    ];
    assert.deepEqual(best(linux('amd64', 'v3'), offered), [
      'linux/amd64/v3',
      'linux/amd64/v2',
      'linux/amd64',
      'linux/386',
    ]);
  });
  void it('arm64 takes arm after itself', () => {
    const offered = [linux('arm', 'v7'), linux('arm64', 'v8'), linux('amd64')];
    assert.deepEqual(best(linux('arm64'), offered), ['linux/arm64/v8', 'linux/arm/v7']);
  });
  void it('an ordered matcher takes exactly what it was given', () => {
    const matcher = orderedMatcher([linux('arm64'), linux('amd64')]);
    assert.ok(matcher.matches(linux('arm64', 'v8')));
    assert.ok(!matcher.matches(linux('386')));
    assert.ok(matcher.compare(linux('arm64'), linux('amd64')) < 0);
  });
  void it('features that an image needs must be offered', () => {
    const image = { ...linux('amd64'), osFeatures: ['sgx'] };
    assert.ok(!orderedMatcher([linux('amd64')]).matches(image));
    assert.ok(orderedMatcher([image]).matches(image));
    assert.ok(orderedMatcher([image]).matches(linux('amd64')));
  });
  void it('a variant with an endless number has nothing below it', () => {
    for (const variant of ['v999999999', 'v1e9', '0x7fffffff', 'v8.5'])
      for (const architecture of ['amd64', 'arm']) {
        const matcher = compatibleMatcher(linux(architecture, variant));
        assert.ok(matcher.matches(linux(architecture, variant)));
        assert.ok(!matcher.matches(linux(architecture, 'v6')));
      }
  });
  void it('the order is a total one', () => {
    const platforms = fc.array(
      fc.constantFrom(linux('amd64'), linux('386'), linux('arm', 'v6'), linux('arm', 'v7'), linux('arm64')),
    );
    fc.assert(
      fc.property(platforms, (list) => {
        const matcher = compatibleMatcher(linux('arm64'));
        const sorted = list.toSorted((a, b) => matcher.compare(a, b));
        const firstMiss = sorted.findIndex((platform) => !matcher.matches(platform));
        assert.ok(
          firstMiss === -1 || sorted.slice(firstMiss).every((platform) => !matcher.matches(platform)),
        );
      }),
    );
  });
});
