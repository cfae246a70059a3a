/**
 * Fetches an image and shows how far it is.
 *
 *     node examples/pull.ts /run/gantry/gantry.sock docker.io/library/busybox:latest
 */
import { connect } from '../src/client/index.ts';

const [address = '/run/gantry/gantry.sock', reference = 'docker.io/library/busybox:latest'] =
  process.argv.slice(2);

await using gantry = connect({ address });
const pull = gantry.images.pull(reference, { snapshotter: 'overlayfs' });
for await (const { event, name, progress, total } of pull)
  console.log(event, name, total > 0 ? `${Math.round((100 * progress) / total)} %` : '');
const image = await pull.image();
console.log(`${image.name} is ${image.target.digest}`);
