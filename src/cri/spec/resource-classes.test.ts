/** Classes of RDT and block I/O: whose annotation counts, and what happens where there are none to be had. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { hasCode } from '../../base/errors.ts';
import { testContainer } from './spec.fixture.ts';

const key = (kind: string, whose: string): string => `${kind}.resources.beta.kubernetes.io/${whose}`;
const own = { 'io.kubernetes.cri.rdt-class': 'own' };
const rdt = {
  [key('rdt', 'pod')]: 'pod',
  [key('rdt', 'container.main')]: 'main',
  [key('rdt', 'container.x')]: 'x',
};

void describe('resource classes', () => {
  for (const [name, pod, annotations, is] of [
    ['none', {}, {}, undefined],
    ['of the container', rdt, own, { closID: 'own' }],
    ['of the pod for it', rdt, {}, { closID: 'main' }],
    ['of the pod for all', { [key('rdt', 'pod')]: 'pod' }, {}, { closID: 'pod' }],
  ] as const)
    void it(name, async () => {
      const changes = {
        pod: { annotations: pod },
        container: { annotations },
        settings: { rdtEnabled: true },
      };
      assert.deepEqual((await testContainer(changes)).spec.linux?.intelRdt, is);
    });
  const refuses = (made: Promise<unknown>, words: RegExp): Promise<void> =>
    assert.rejects(made, (error: Error) => {
      assert.match(error.message, words);
      return hasCode(error, 'InvalidArgument');
    });
  void it('are refused where RDT and block I/O are off', async () => {
    await refuses(testContainer({ pod: { annotations: rdt } }), /RDT is not enabled/);
    const blockio = { [key('blockio', 'pod')]: 'slow' };
    await refuses(testContainer({ pod: { annotations: blockio } }), /blockio support is not enabled/);
  });
  void it('are ignored there by setting', async () => {
    const settings = { ignoreRdtNotEnabledErrors: true, ignoreBlockioNotEnabledErrors: true };
    const annotations = { ...rdt, [key('blockio', 'pod')]: 'slow' };
    assert.equal((await testContainer({ pod: { annotations }, settings })).spec.linux?.intelRdt, undefined);
  });
  void it('are refused when they lead out of resctrl', async () => {
    const annotations = { 'io.kubernetes.cri.rdt-class': '../info' };
    await refuses(
      testContainer({ container: { annotations }, settings: { rdtEnabled: true } }),
      /no name of a group/,
    );
  });
});
