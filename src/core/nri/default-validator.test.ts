import assert from 'node:assert/strict';
import { test } from 'node:test';
import { create } from '@bufbuild/protobuf';
import {
  ContainerAdjustmentSchema,
  ContainerSchema,
  PodSandboxSchema,
  SecurityProfile_ProfileType,
} from '../../wire/gen/nri/pkg/api/v1alpha1/api_pb.js';
import { AdjustmentMerge } from './adjustment-merge.ts';
import { type DefaultValidatorOptions, validateByDefault } from './default-validator.ts';

const off: DefaultValidatorOptions = {
  enable: true,
  rejectOciHookAdjustment: false,
  rejectRuntimeDefaultSeccompAdjustment: false,
  rejectUnconfinedSeccompAdjustment: false,
  rejectCustomSeccompAdjustment: false,
  rejectNamespaceAdjustment: false,
  rejectSysctlAdjustment: false,
  requiredPlugins: [],
  tolerateMissingAnnotation: '',
};

interface Given {
  readonly asked?: Parameters<AdjustmentMerge['add']>[1];
  readonly profileType?: SecurityProfile_ProfileType;
  readonly annotations?: Record<string, string>;
  readonly plugins?: readonly string[];
}

function judge(
  options: Partial<DefaultValidatorOptions>,
  { asked, profileType, annotations, plugins }: Given,
): void {
  const container = create(ContainerSchema, {
    id: 'c1',
    name: 'web',
    linux: profileType === undefined ? {} : { seccompProfile: { profileType } },
  });
  const merge = new AdjustmentMerge(container);
  merge.add('10-p', asked);
  validateByDefault(
    { ...off, ...options },
    {
      pod: create(PodSandboxSchema, { annotations: annotations ?? {} }),
      container,
      adjustment: merge.adjustment,
      owners: merge.owners,
      plugins: plugins ?? [],
    },
  );
}

const asked = create(ContainerAdjustmentSchema, {
  hooks: { prestart: [{ path: '/x' }] },
  linux: { seccompPolicy: {}, namespaces: [{ type: 'ipc' }], sysctl: { 'a.b': '1' } },
});

const refusals: readonly [Partial<DefaultValidatorOptions>, RegExp, SecurityProfile_ProfileType?][] = [
  [{ rejectOciHookAdjustment: true }, /plugin "10-p" attempted restricted OCI hook injection/],
  [{ rejectUnconfinedSeccompAdjustment: true }, /restricted unconfined seccomp/],
  [
    { rejectUnconfinedSeccompAdjustment: true },
    /restricted unconfined seccomp/,
    SecurityProfile_ProfileType.UNCONFINED,
  ],
  [
    { rejectRuntimeDefaultSeccompAdjustment: true },
    /restricted runtime default seccomp/,
    SecurityProfile_ProfileType.RUNTIME_DEFAULT,
  ],
  [
    { rejectCustomSeccompAdjustment: true },
    /restricted custom seccomp/,
    SecurityProfile_ProfileType.LOCALHOST,
  ],
  [{ rejectNamespaceAdjustment: true }, /namespace adjustment by plugin\(s\) "10-p" \(namespace "ipc"\)/],
  [{ rejectSysctlAdjustment: true }, /sysctl adjustment by plugin\(s\) 10-p/],
];
for (const [options, words, profileType] of refusals)
  test(`${Object.keys(options).join()} with profile ${profileType ?? 'none'}`, () => {
    const given = profileType === undefined ? { asked } : { asked, profileType };
    assert.throws(() => judge(options, given), words);
    judge({}, given);
    judge({ ...options, enable: false }, given);
    judge(options, {});
  });

test('a refusal is of the profile that the container has', () => {
  judge(
    { rejectRuntimeDefaultSeccompAdjustment: true },
    { asked, profileType: SecurityProfile_ProfileType.LOCALHOST },
  );
  judge(
    { rejectCustomSeccompAdjustment: true },
    { asked, profileType: SecurityProfile_ProfileType.RUNTIME_DEFAULT },
  );
});

test('required plugins, by settings and by annotations of YAML', () => {
  const requiredPlugins = ['a'];
  assert.throws(() => judge({ requiredPlugins }, {}), /required plugin "a" not present/);
  judge({ requiredPlugins }, { plugins: ['a'] });
  const key = 'required-plugins.noderesource.dev';
  for (const value of ['[a, "b"]', "- a\n- 'b'", '["a","b",]'])
    assert.throws(
      () => judge({}, { annotations: { [`${key}/pod`]: value } }),
      /required plugins "a,b" not present/,
    );
  judge({}, { annotations: { [`${key}/container.other`]: '[a]' } });
  judge({}, { annotations: { [`${key}/container.web`]: '[]', [key]: '[a]' } });
  assert.throws(() => judge({}, { annotations: { [key]: 'a: b' } }), /must be a list of names/);
});

test('a pod may do without', () => {
  const options = { requiredPlugins: ['a'], tolerateMissingAnnotation: 'do-without' };
  judge(options, { annotations: { 'do-without/container.web': 'true' } });
  assert.throws(() => judge(options, { annotations: { 'do-without': 'false' } }), /not present/);
  assert.throws(() => judge(options, { annotations: { 'do-without': 'maybe' } }), /must be true or false/);
});
