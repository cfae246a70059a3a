import { limits } from '../../base/limits.ts';
import { silentLogger } from '../../base/logger.ts';
import { transportSuite } from '../transport.suite.ts';
import { connectGrpc } from './client.ts';
import { GrpcServer } from './server.ts';

transportSuite('gRPC', {
  serve: (services, source) => {
    const server = new GrpcServer({ services, log: silentLogger });
    server.attach(source);
    return server;
  },
  connect: async (path) => connectGrpc(path),
  maxMessageBytes: limits.grpcMessageBytes,
});
