/** Debian's dockerd, 20.10, on our daemon. */
import { dockerTests } from '../support/docker.suite.ts';
import { debianDocker } from '../support/peers.ts';

dockerTests("Debian's docker with overlay2", debianDocker(), 'overlay2');
