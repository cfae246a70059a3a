/** dockerd 28 with images and file systems of its own, on our daemon. */
import { dockerTests } from '../support/docker.suite.ts';
import { newestDocker } from '../support/peers.ts';

dockerTests('docker 28 with overlay2', newestDocker(), 'overlay2');
