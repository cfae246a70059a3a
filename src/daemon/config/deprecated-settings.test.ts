import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { Configuration } from './daemon-config.ts';
import { findDeprecatedSettings } from './deprecated-settings.ts';

function found(t: TestContext, text: string): string[] {
  const folder = mkdtempSync(path.join(tmpdir(), 'gantry-deprecated-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const config = path.join(folder, 'config.toml');
  writeFileSync(config, text);
  return findDeprecatedSettings(new Configuration({ config })).map((id) => id.replace(/^.*\//, ''));
}

const cri = (text: string): string => `version = 2\n[plugins.'io.containerd.grpc.v1.cri'.${text}\n`;
const cases: readonly (readonly [string, string, readonly string[]])[] = [
  ['nothing', 'version = 4\n', []],
  [
    'what is new',
    `version = 3\n[plugins.'io.containerd.cri.v1.images'.registry]\nconfig_path = "/etc"\n`,
    [],
  ],
  [
    'mirrors of an old file',
    cri(`registry.mirrors.'docker.io']\nendpoint = ["x"]`),
    ['cri-registry-mirrors'],
  ],
  ['an empty table of mirrors', cri('registry.mirrors]'), []],
  ['auths', cri(`registry.auths.'x']\nauth = "y"`), ['cri-registry-auths']],
  ['configs', cri(`registry.configs.'x'.auth]\nusername = "y"`), ['cri-registry-configs']],
  ['bin_dir of CNI', cri('cni]\nbin_dir = "/opt"'), ['cri-cni-bin-dir']],
  [
    'enable_cdi',
    `version = 3\n[plugins.'io.containerd.cri.v1.runtime']\nenable_cdi = true\n`,
    ['enable-cdi'],
  ],
  [
    'tracing',
    `version = 3\n[plugins.'io.containerd.tracing.processor.v1.otlp']\nendpoint = "x"\n[plugins.'io.containerd.internal.v1.tracing']\nservice_name = "x"\n`,
    ['tracing-processor-config', 'tracing-service-config'],
  ],
  ['a file of version 1', 'oom_score = 0\n', ['config-version-1']],
];

for (const [what, text, expected] of cases)
  test(`deprecated: ${what}`, (t) => assert.deepEqual(found(t, text), expected));
