import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { hasCode } from '../../base/errors.ts';
import { fillTemplate, templateData } from './conf-template.ts';
import { NetworkDirectory } from './network-directory.ts';
import { writeTemplateConfig } from './template-config.ts';

const data = templateData('10.1.0.0/24, fd00:1::/64');

describe('templates of a network configuration', () => {
  test('what the kubelet tells', () => {
    assert.deepEqual(data, {
      PodCIDR: '10.1.0.0/24',
      PodCIDRRanges: ['10.1.0.0/24', 'fd00:1::/64'],
      Routes: ['0.0.0.0/0', '::/0'],
    });
    assert.deepEqual(templateData('10.1.0.0/24,10.2.0.0/24').Routes, ['0.0.0.0/0']);
    for (const text of ['', '10.1.0.0', '10.1.0.0/33', '10.1.0.0/24,'])
      assert.throws(
        () => templateData(text),
        (error) => hasCode(error, 'InvalidArgument'),
      );
  });

  const filled: readonly [string, string][] = [
    ['no action', 'no action'],
    ['{{.PodCIDR}} {{ .PodCIDR }}', '10.1.0.0/24 10.1.0.0/24'],
    ['[{{range .Routes}}<{{.}}>{{end}}]', '[<0.0.0.0/0><::/0>]'],
    ['{{range $i, $r := .PodCIDRRanges}}{{if $i}}, {{end}}"{{$r}}"{{end}}', '"10.1.0.0/24", "fd00:1::/64"'],
    ['{{range $r := .Routes}}{{$r}} {{$.PodCIDR}};{{end}}', '0.0.0.0/0 10.1.0.0/24;::/0 10.1.0.0/24;'],
    ['a {{- range .Routes -}} \n b {{ else }} c {{- end }} d', 'ab b  d'],
    ['{{if .PodCIDR}}yes{{else}}no{{end}}{{/* a comment */}}', 'yes'],
    ['{{range $i, $r := .Routes}}{{if $i}}then{{else}}first {{end}}{{end}}', 'first then'],
    ['{{if .Routes}}{{range .Routes}}x{{end}}{{else}}{{range .Routes}}y{{end}}{{end}}', 'xx'],
  ];
  for (const [template, text] of filled)
    test(template, () => assert.equal(fillTemplate(template, data), text));

  test('without pods of that kind', () => {
    const empty = { PodCIDR: '', PodCIDRRanges: [], Routes: [] };
    assert.equal(fillTemplate('{{range .Routes}}x{{else}}none{{end}}', empty), 'none');
    assert.equal(fillTemplate('{{if .PodCIDR}}x{{range .Routes}}{{.}}{{end}}{{end}}!', empty), '!');
  });

  for (const template of [
    '{{.Other}}',
    '{{printf "x"}}',
    '{{.PodCIDR',
    '{{end}}',
    '{{else}}',
    '{{if .PodCIDR}}',
    '{{if .PodCIDR}}{{else}}',
    '{{range .PodCIDR}}{{end}}',
    '{{range .Routes}}{{.Routes}}{{end}}',
    '{{.Routes}}',
    '{{.}}',
    '{{$x}}',
    '{{template "x"}}',
  ])
    test(`${template} is refused`, () =>
      assert.throws(
        () => fillTemplate(template, data),
        (error) => hasCode(error, 'InvalidArgument'),
      ));
});

describe('a configuration from the template', () => {
  let folder = '';
  let directory: NetworkDirectory;
  const confDir = (): string => join(folder, 'cni', 'net.d');
  const write = async (text: string, podCidr = '10.1.0.0/24'): Promise<boolean> => {
    writeFileSync(join(folder, 'template'), text);
    return writeTemplateConfig(directory, { template: join(folder, 'template'), podCidr });
  };

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'gantry-template-'));
    directory = new NetworkDirectory({ confDir: confDir(), maxConfNum: 1 });
  });
  afterEach(() => {
    directory[Symbol.dispose]();
    rmSync(folder, { recursive: true });
  });

  const good = '{"cniVersion":"1.0.0","name":"t","plugins":[{"type":"ptp","subnet":"{{.PodCIDR}}"}]}';

  test('is written once, and counts', async () => {
    assert.equal(await write(good), true);
    assert.deepEqual(readdirSync(confDir()), ['10-containerd-net.conflist']);
    assert.match(
      readFileSync(join(confDir(), '10-containerd-net.conflist'), 'utf8'),
      /"subnet":"10\.1\.0\.0\/24"/,
    );
    assert.deepEqual(
      (await directory.plans()).map(({ name }) => name),
      ['t'],
    );
    assert.equal(await write(good, '10.2.0.0/24'), false);
  });

  test('is left alone where somebody else has put one', async () => {
    mkdirSync(confDir(), { recursive: true });
    writeFileSync(join(confDir(), '99.conf'), '{"name":"mine","type":"bridge"}');
    assert.equal(await write(good), false);
    assert.deepEqual(readdirSync(confDir()), ['99.conf']);
  });

  test('nothing to do, or nothing that could be used', async () => {
    assert.equal(await write(good, ''), false);
    assert.equal(await writeTemplateConfig(directory, { template: '', podCidr: '10.1.0.0/24' }), false);
    await assert.rejects(write('{"name":"t"}'), /CNI template .*: it has no plugins/);
    await assert.rejects(
      writeTemplateConfig(directory, { template: join(folder, 'absent'), podCidr: '10.1.0.0/24' }),
      (error) => hasCode(error, 'NotFound'),
    );
  });
});
