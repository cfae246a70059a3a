import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, describe, it } from 'node:test';
import { hasCode } from '../../base/errors.ts';
import { Configuration } from './daemon-config.ts';

const folder = mkdtempSync(path.join(tmpdir(), 'gantry-processors-'));
const file = path.join(folder, 'config.toml');
const load = (text: string): Configuration => {
  writeFileSync(file, `version = 3\n${text}`);
  return new Configuration({ config: file });
};
const one = '[stream_processors.one]\naccepts = ["a"]\nreturns = "b"\npath = "p"\n';
const tar = 'application/vnd.oci.image.layer.v1.tar';

void describe('stream_processors', () => {
  after(() => rmSync(folder, { recursive: true }));

  void it("without a word there are containerd's two for encrypted layers", () => {
    const { streamProcessors } = load('').daemon;
    assert.deepEqual(
      streamProcessors.map(({ accepts, returns, path: program }) => [accepts, returns, program]),
      [
        [[`${tar}+encrypted`], tar, 'ctd-decoder'],
        [[`${tar}+gzip+encrypted`], `${tar}+gzip`, 'ctd-decoder'],
      ],
    );
  });

  void it('sections come after them, in their order, and are known', () => {
    const config = load(`${one}args = ["-x"]\nenv = ["A=b=c", "D="]\ncolour = 1\n`);
    assert.deepEqual(config.daemon.streamProcessors.slice(2), [
      {
        id: 'one',
        accepts: ['a'],
        returns: 'b',
        path: 'p',
        args: ['-x'],
        env: { A: 'b=c', D: '' },
      },
    ]);
    assert.deepEqual(config.warnings(), ['unknown key stream_processors.one.colour is ignored']);
  });

  void it('a section with the name of a built-in one replaces all of it', () => {
    const id = 'io.containerd.ocicrypt.decoder.v1.tar';
    const { streamProcessors } = load(one.replace('.one', `."${id}"`)).daemon;
    assert.equal(streamProcessors.length, 2);
    assert.deepEqual(streamProcessors.at(-1), {
      id,
      accepts: ['a'],
      returns: 'b',
      path: 'p',
      args: [],
      env: {},
    });
  });

  void it('what cannot work is refused at the start', () => {
    const refused = (text: string, message: RegExp): void =>
      assert.throws(
        () => load(text),
        (error) => hasCode(error, 'InvalidArgument') && message.test(String(error)),
      );
    refused(one.replace('accepts = ["a"]', ''), /one\.accepts: must name/);
    refused(one.replace('returns = "b"', ''), /one\.returns: must name/);
    refused(one.replace('path = "p"', ''), /one\.path: must name/);
    refused(`${one}env = ["A"]`, /one\.env: must have entries NAME=value, not "A"/);
    refused(`${one}args = "x"`, /one\.args: must be a list of strings/);
  });
});
