/** Every command of `ctr content`, against a registry where it needs one: ours against the peer. */
import { compareWithPeer, step } from './harness.ts';

const image = 'REGISTRY/sample/busybox:latest';
const wrongDigest = `sha256:${'0'.repeat(64)}`;
const hello = 'sha256:882b6c8d0241a41565d3dd51be89e570e43145d625a324dd6dc6bb0726e22587';

compareWithPeer('ctr content', [
  {
    name: 'fetch and push',
    steps: [
      step(`content fetch --plain-http ${image}`, { compare: 'status' }),
      step('images ls', { unordered: true, capture: { MANIFEST: /(sha256:[0-9a-f]{64})/ } }),
      step('content ls', { unordered: true }),
      step('content get <MANIFEST>', {
        capture: {
          CONFIG: /config\+json","digest":"(sha256:[0-9a-f]{64})/,
          LAYER: /tar\+gzip","digest":"(sha256:[0-9a-f]{64})/,
        },
      }),
      step('content get <CONFIG>'),
      step(`content fetch-object --plain-http ${image} <MANIFEST>`, { compare: 'status' }),
      step('content fetch-object --plain-http REGISTRY/sample/absent:latest', { compare: 'status' }),
      step(
        'content push-object --plain-http REGISTRY/SELF/pushed:one <MANIFEST> application/vnd.oci.image.manifest.v1+json',
      ),
      step(
        'content push-object --plain-http REGISTRY/SELF/pushed:one <LAYER> application/vnd.oci.image.layer.v1.tar+gzip',
      ),
      step(
        `content push-object --plain-http REGISTRY/SELF/pushed:one ${wrongDigest} application/vnd.oci.image.config.v1+json`,
      ),
      step('content prune references --dry', { compare: 'status' }),
      step('content prune references', { unordered: true }),
      step('content ls', { unordered: true }),
      step('content fetch --plain-http REGISTRY/sample/absent:latest', { compare: 'status' }),
      step('content fetch --plain-http --platform linux/riscv64 REGISTRY/sample/busybox:latest', {
        compare: 'status',
      }),
    ],
  },
  {
    name: 'edit and label',
    steps: [
      step('content ingest edit-ref', { input: 'hello, content store\n' }),
      { args: ['content', 'edit', '--editor', 'sed -i s/hello/bye/', hello] },
      // containerd leaves the class out of this one message.
      { args: ['content', 'edit', '--editor', 'true', hello], compare: 'status' },
      { args: ['content', 'edit', '--editor', 'false', hello] },
      step(`content edit --editor true ${wrongDigest}`),
      step('content ls', { unordered: true }),
      step(`content label ${hello} a=b c=d`, { unordered: true }),
      step(`content label ${hello} a= c=e`),
      { args: ['content', 'label', hello, `long=${'v'.repeat(4100)}`] },
      step(`content label ${hello}`),
      step('content label not-a-digest a=b', { compare: 'class' }),
      step('content ls labels.c==e'),
      step('content ls bad==='),
      step('content active', { compare: 'status' }),
      step('content active --root /absent ^edit', { compare: 'status' }),
      step(`content rm ${hello} ${wrongDigest}`),
      step('content rm not-a-digest', { compare: 'class' }),
      step('content rm'),
      step('content get'),
      step('content ingest'),
      step('content ls -q'),
    ],
  },
]);
