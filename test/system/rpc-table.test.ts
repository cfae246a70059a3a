/** The table of every RPC in docs/status.md: nothing is missing in it, and each row says what a running daemon answers. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { DescMethod } from '@bufbuild/protobuf';
import { ContainerdError } from '../../src/base/errors.ts';
import { connectGrpc } from '../../src/wire/grpc/client.ts';
import type { Connection, Service } from '../../src/wire/service.ts';
import { type Daemon, startGantry } from '../support/daemon.ts';

const root = join(import.meta.dirname, '../..');
const generated = join(root, 'src/wire/gen');

/** Services that others serve. */
const foreign = /^opentelemetry\.|^nri\.pkg\.api\.v1alpha1\.(?:Plugin|HostFunctions)$/;
/** Services of the shim, of the ttrpc socket and for plugins of NRI: their rows name tests that call them there. */
const overTtrpc = /^(?:containerd\.(?:task\.|runtime\.|services\.events\.ttrpc\.)|gantry\.shim\.|nri\.)/;

interface Row {
  readonly state: string;
  readonly tests: readonly string[];
}

/** By `package.Service/Method`. */
function tableRows(): Map<string, Row> {
  const rows = new Map<string, Row>();
  const line = /^\| `(?<rpc>[\w.]+\/\w+)` \| (?<state>[^|]+) \| (?<tests>[^|]*) \|$/gm;
  for (const { groups = {} } of readFileSync(join(root, 'docs/status.md'), 'utf8').matchAll(line)) {
    const { rpc = '', state = '', tests = '' } = groups;
    assert.ok(!rows.has(rpc), `${rpc} stands twice`);
    rows.set(rpc, { state, tests: [...tests.matchAll(/`([^`]+)`/g)].map(([, file = '']) => file) });
  }
  return rows;
}

async function services(): Promise<Service[]> {
  const files = readdirSync(generated, { recursive: true, encoding: 'utf8' });
  const found: Service[] = [];
  for (const file of files.filter((name) => name.endsWith('_pb.js'))) {
    const exported = (await import(join(generated, file))) as Readonly<Record<string, { kind?: string }>>;
    for (const value of Object.values(exported)) if (value.kind === 'service') found.push(value as Service);
  }
  return found.filter(({ typeName }) => !foreign.test(typeName));
}

type AnyCall = (request: unknown, options: object) => Promise<unknown> & AsyncIterable<unknown>;

/** Whether the method is there: called with nothing, most of them refuse. */
async function isServed(connection: Connection, service: Service, method: DescMethod): Promise<boolean> {
  const calls = connection.client(service) as unknown as Readonly<Record<string, AnyCall>>;
  const streamsIn = method.methodKind === 'client_streaming' || method.methodKind === 'bidi_streaming';
  const streamsOut = method.methodKind === 'server_streaming' || method.methodKind === 'bidi_streaming';
  const request = streamsIn ? (async function* () {})() : {};
  try {
    const answer = calls[method.localName]?.(request, { timeoutMs: 500 });
    if (streamsOut) for await (const _ of answer ?? []) return true;
    else await answer;
    return true;
  } catch (error) {
    return ContainerdError.from(error).code !== 'Unimplemented';
  }
}

describe('every RPC', () => {
  let daemon: Daemon;
  let connection: Connection;
  const rows = tableRows();
  before(async () => {
    daemon = await startGantry();
    connection = connectGrpc(daemon.address);
  });
  after(async () => {
    await connection?.[Symbol.asyncDispose]();
    await daemon?.[Symbol.asyncDispose]();
  });

  test('has a row, and no row is of something else', async () => {
    const rpcs = (await services()).flatMap(({ typeName, methods }) =>
      methods.map(({ name }) => `${typeName}/${name}`),
    );
    const known = new Set(rpcs);
    assert.deepEqual(
      {
        missing: rpcs.filter((rpc) => !rows.has(rpc)),
        unknown: [...rows.keys()].filter((rpc) => !known.has(rpc)),
      },
      { missing: [], unknown: [] },
    );
  });

  test('that works names tests which call it', async () => {
    for (const { typeName, methods } of await services())
      for (const { name, localName } of methods) {
        const { state = '', tests = [] } = rows.get(`${typeName}/${name}`) ?? {};
        if (!state.startsWith('works')) continue;
        assert.ok(tests.length > 0, `${typeName}/${name} names no test`);
        // Some are called by a command alone: `works, through `gantry why``.
        const [, command] = /through `\S+ (\w+)`/.exec(state) ?? [];
        const wanted = command === undefined ? `.${localName}(` : `'${command}'`;
        for (const file of tests)
          assert.ok(readFileSync(join(root, file), 'utf8').includes(wanted), `${file} has no ${wanted}`);
      }
  });

  test('is answered as its row says', async () => {
    for (const service of (await services()).filter(({ typeName }) => !overTtrpc.test(typeName)))
      for (const method of service.methods) {
        const rpc = `${service.typeName}/${method.name}`;
        const served = await isServed(connection, service, method);
        assert.equal(
          served,
          rows.get(rpc)?.state.startsWith('works'),
          `${rpc} is ${served ? '' : 'not '}served`,
        );
      }
  });
});
