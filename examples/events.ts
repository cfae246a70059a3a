/**
 * Says when a container ends, until Ctrl-C.
 *
 *     node examples/events.ts /run/gantry/gantry.sock
 */
import { connect, hasCode } from '../src/client/index.ts';

const [address = '/run/gantry/gantry.sock'] = process.argv.slice(2);
const aborter = new AbortController();
process.once('SIGINT', () => aborter.abort());

await using gantry = connect({ address });
try {
  for await (const { namespace, fields } of gantry.events.subscribe(['topic==/tasks/exit'], aborter))
    console.log(namespace, fields?.['containerId'], 'ended with', fields?.['exitStatus'] ?? 0);
} catch (error) {
  if (!hasCode(error, 'Canceled')) throw error;
}
