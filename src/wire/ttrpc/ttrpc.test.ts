import { limits } from '../../base/limits.ts';
import { silentLogger } from '../../base/logger.ts';
import { transportSuite } from '../transport.suite.ts';
import { connectTtrpc } from './client.ts';
import { TtrpcServer } from './server.ts';

transportSuite('ttrpc', {
  serve: (services, source) => {
    const server = new TtrpcServer({ services, log: silentLogger });
    server.attach(source);
    return server;
  },
  connect: (path) => connectTtrpc(path),
  maxMessageBytes: limits.ttrpcMessageBytes,
});
