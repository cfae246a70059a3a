import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Logger } from '../base/logger.ts';
import type { LogFormat, LogLevel } from './config/daemon-config.ts';
import { createLogger } from './logger.ts';

function capture(format: LogFormat, level: LogLevel = 'info'): { log: Logger; lines: string[] } {
  const lines: string[] = [];
  return { log: createLogger({ level, format, write: (line) => lines.push(line) }), lines };
}

const time = String.raw`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z`;

describe('text', () => {
  it('has the form of containerd', () => {
    const { log, lines } = capture('text');
    log.info({ path: '/a', text: 'two words', count: 3n }, 'something happened');
    assert.match(
      lines.join(''),
      new RegExp(`^time="${time}" level=info msg="something happened" path=/a text="two words" count=3\n$`),
    );
  });

  it('calls warnings warning, and keeps a line a line', () => {
    const { log, lines } = capture('text');
    log.warn({ given: 'a\nb' }, 'x');
    assert.match(lines.join(''), /level=warning msg=x given="a\\nb"\n$/);
  });
});

describe('json', () => {
  it('has the keys of containerd', () => {
    const { log, lines } = capture('json');
    log.child({ plugin: 'p' }).error({ error: new Error('no disk') }, 'failed');
    const { time: at, ...entry } = JSON.parse(lines.join('')) as Record<string, string>;
    assert.match(at ?? '', new RegExp(`^${time}$`));
    assert.deepEqual(entry, { level: 'error', plugin: 'p', error: 'no disk', msg: 'failed' });
  });
});

describe('both', () => {
  it('keep silent below the level, and give stacks at debug', () => {
    const quiet = capture('text', 'warn');
    quiet.log.info({}, 'x');
    assert.deepEqual(quiet.lines, []);
    const loud = capture('json', 'debug');
    loud.log.warn({ error: new Error('no disk') }, 'x');
    assert.match(loud.lines.join(''), /no disk\\n {4}at /);
  });

  it('blank secrets', () => {
    for (const format of ['text', 'json'] as const) {
      const { log, lines } = capture(format);
      log.info({ password: 'hunter2', request: { authorization: 'Basic aHVudGVyMg==' } }, 'login');
      assert.doesNotMatch(lines.join(''), /hunter2|aHVudGVyMg/);
      assert.match(lines.join(''), /\[redacted\]/);
    }
  });
});
