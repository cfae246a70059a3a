/** A process that connects one pod in the world of the folder that it is told, and may be killed by a plugin on its way. */
import { selectPlatform } from '../../platform/select.ts';
import { NetworkWorld } from './pod-network.fixture.ts';

const [, , folder = '', name = ''] = process.argv;
const world = new NetworkWorld(await selectPlatform(), {}, folder);
const pod = world.pod(name);
world.pods.make(pod.id);
await world.network.setUp(world.ctx, pod);
process.stdout.write('connected');
