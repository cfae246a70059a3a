/** dockerd 28 that keeps images and file systems in our daemon. */
import { dockerTests } from '../support/docker.suite.ts';
import { newestDocker } from '../support/peers.ts';

dockerTests("docker 28 with containerd's image store", newestDocker(), 'containerd');
