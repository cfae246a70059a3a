/** Image configurations: every member has its type or the document is refused. */
import assert from 'node:assert/strict';
import { digestOf } from '../../../src/base/digest.ts';
import { limits } from '../../../src/base/limits.ts';
import { parseImageConfig } from '../../../src/oci/image-config.ts';
import type { FuzzTarget } from '../fuzz-target.ts';

const digest = digestOf('');
const run =
  '"User":"a:b","Env":["A=b"],"Entrypoint":["/x"],"Cmd":null,"WorkingDir":"/","Volumes":{"/v":{}},"Labels":{"a":"b"},"StopSignal":"TERM"';

export const imageConfig: FuzzTarget = {
  name: 'image-config',
  seeds: [
    `{"os":"linux","architecture":"amd64","created":"2024-01-01T00:00:00Z","config":{${run}},"rootfs":{"type":"layers","diff_ids":["${digest}"]}}`,
    '{"config":null,"rootfs":null}',
  ],
  hostile: [`{"rootfs":${'['.repeat(20_000)}`, '{"config":{"Labels":{"__proto__":"x"},"Volumes":[]}}'],
  words: [
    '"config":',
    '"rootfs":',
    '"diff_ids":',
    '"Env":',
    '"Volumes":',
    '"Labels":',
    '{}',
    '[]',
    `"${digest}"`,
  ],
  maxBytes: 64 * 1024,
  refusals: ['InvalidArgument'],
  check(input) {
    const { config, diffIds, platform } = parseImageConfig(input, digest);
    assert.ok(diffIds.length <= limits.manifestEntries);
    const texts = [
      ...[config.user, config.workingDir, config.stopSignal, platform.os, platform.architecture],
      ...[...config.env, ...config.entrypoint, ...config.cmd, ...config.volumes, ...config.exposedPorts],
      ...Object.values(config.labels),
    ];
    assert.ok(texts.every((text) => typeof text === 'string'));
  },
};
