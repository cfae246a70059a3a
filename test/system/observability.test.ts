/**
 * What lets others look into the daemon: metrics beside a real containerd's, the debug socket, the state dump, settings
 * that change on SIGHUP, and deprecations.
 */
import assert from 'node:assert/strict';
import { mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { rejectsWith } from '../../src/testing/assertions.ts';
import { needsRoot } from '../../src/testing/needs-root.ts';
import { until } from '../../src/testing/until.ts';
import { anyToWire, packAny } from '../../src/wire/any.ts';
import { Containers } from '../../src/wire/gen/containerd/services/containers/v1/containers_pb.js';
import { Events } from '../../src/wire/gen/containerd/services/events/v1/events_pb.js';
import { Introspection } from '../../src/wire/gen/containerd/services/introspection/v1/introspection_pb.js';
import { OptionsSchema } from '../../src/wire/gen/containerd/types/runc/options/oci_pb.js';
import { connectGrpc } from '../../src/wire/grpc/client.ts';
import { type Daemon, startGantry, startPeer } from '../support/daemon.ts';
import { freePort, type Registry, startRegistry } from '../support/registry.ts';
import { type Scrape, scrape, shapeOf } from '../support/scrape.ts';
import { TaskLab } from '../support/task-lab.ts';

const skip = needsRoot('it runs containers by runc');
const metricsConfig = (port: number): string =>
  `[metrics]\naddress = "127.0.0.1:${port}"\ngrpc_histogram = true\n`;
const configOf = (daemon: Daemon): string => join(daemon.root, '../config.toml');

/** A daemon with metrics and one running container. */
class Measured implements AsyncDisposable {
  readonly daemon: Daemon;
  readonly port: number;
  readonly lab: TaskLab;

  private constructor(daemon: Daemon, port: number, lab: TaskLab) {
    this.daemon = daemon;
    this.port = port;
    this.lab = lab;
  }

  static async start(startDaemon: typeof startGantry, image: string): Promise<Measured> {
    const port = await freePort();
    const daemon = await startDaemon({ config: metricsConfig(port) });
    const lab = await TaskLab.open(daemon, image);
    await lab.run('measured', ['sleep', '1000'], { flags: ['--memory-limit', '67108864'] });
    return new Measured(daemon, port, lab);
  }

  /** Once the container is among the series: a real containerd takes a moment. */
  async scrape(): Promise<Scrape> {
    let latest: Scrape | undefined;
    await until('the container is measured', async () => {
      latest = await scrape(this.port);
      return latest.types.has('container_pids_current');
    });
    return latest as Scrape;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.lab[Symbol.asyncDispose]();
    await this.daemon[Symbol.asyncDispose]();
  }
}

describe('metrics, as root', { skip, concurrency: 1 }, () => {
  let registry: Registry;
  let ours: Measured;
  before(async () => {
    registry = await startRegistry(['busybox']);
    ours = await Measured.start(startGantry, registry.reference('busybox'));
  });
  after(async () => {
    await ours?.[Symbol.asyncDispose]();
    await registry?.[Symbol.asyncDispose]();
  });

  test('have the names, labels and types of a real containerd', async () => {
    await using peer = await Measured.start(startPeer, registry.reference('busybox'));
    // What belongs to Go, to its HTTP library, or to CRI, which the peer runs without.
    const theirOwn = /^\S+ (go_|promhttp_|process_network_|process_virtual_memory_max|containerd_cri_)/;
    const theirs = [...shapeOf(await peer.scrape())].filter((shape) => !theirOwn.test(shape));
    const present = shapeOf(await ours.scrape());
    assert.deepEqual(
      theirs.filter((shape) => !present.has(shape)),
      [],
    );
    assert.ok(theirs.length > 60, `only ${theirs.length} of the peer`);
    // No series of a container that the peer does not have.
    assert.deepEqual(
      [...present].filter((shape) => shape.includes(' container_') && !theirs.includes(shape)),
      [],
    );
  });

  test('measure the container', async () => {
    const found = await ours.scrape();
    const labels = {
      container_id: 'measured',
      namespace: ours.lab.namespace,
      runtime: 'io.containerd.runc.v2',
    };
    assert.equal(found.value('container_pids_current', labels), 1);
    assert.equal(found.value('container_memory_usage_limit_bytes', labels), 67_108_864);
    assert.ok(found.value('container_cpu_total_nanoseconds', labels) > 0);
    assert.equal(found.value('gantry_metrics_tasks_left_out'), 0);
  });

  test('forget a container that has gone', async () => {
    await ours.lab.run('short', ['sleep', '1000']);
    const has = (found: Scrape): boolean =>
      found.samples.some(({ labels }) => labels['container_id'] === 'short');
    assert.ok(has(await ours.scrape()));
    await ours.lab.end('short');
    assert.ok(!has(await ours.scrape()));
  });

  test('count calls by method and code', async () => {
    await using connection = connectGrpc(ours.daemon.address, { namespace: 'counted' });
    const labels = { grpc_service: Containers.typeName, grpc_method: 'Get', grpc_type: 'unary' };
    const counted = (found: Scrape): number[] => [
      found.value('grpc_server_started_total', labels),
      found.value('grpc_server_msg_received_total', labels),
      found.value('grpc_server_msg_sent_total', labels),
      found.value('grpc_server_handled_total', { ...labels, grpc_code: 'NotFound' }),
      found.value('grpc_server_handled_total', { ...labels, grpc_code: 'DataLoss' }),
      found.value('grpc_server_handling_seconds_count', labels),
    ];
    const first = counted(await ours.scrape());
    await rejectsWith(connection.client(Containers).get({ id: 'absent' }), 'NotFound');
    const later = counted(await ours.scrape());
    assert.deepEqual(
      later.map((count, index) => count - (first[index] ?? 0)),
      [1, 1, 0, 1, 0, 1],
    );
  });

  test('count collections of garbage', async () => {
    const runs = (found: Scrape): number =>
      found.value('containerd_gc_collections_total', { status: 'success' });
    const first = runs(await ours.scrape());
    await ours.lab.ctr('leases', 'create', '--id', 'gone');
    await ours.lab.ctr('leases', 'rm', '--sync', 'gone');
    const later = await ours.scrape();
    assert.ok(runs(later) > first);
    assert.equal(later.value('containerd_gc_gc_seconds_count'), runs(later));
  });

  test('count and time pulls, also those that fail', async () => {
    const pulls = (found: Scrape, status: string): number =>
      found.samples.find(
        ({ name, labels }) =>
          name === 'gantry_image_transfer_seconds_count' &&
          labels['kind'] === 'pull' &&
          labels['status'] === status,
      )?.value ?? 0;
    const first = await ours.scrape();
    const absent = `${registry.host}/sample/absent:latest`;
    for (const image of [registry.reference('busybox'), absent])
      await ours.lab.ctr.attempt(['images', 'pull', '--plain-http', image]);
    const later = await ours.scrape();
    assert.deepEqual(
      ['success', 'fail'].map((status) => pulls(later, status) - pulls(first, status)),
      [1, 1],
    );
  });

  test('are at one path only', async () => {
    for (const [path, init, status] of [
      ['/', {}, 404],
      ['/v1/metrics/', {}, 404],
      ['/v1/metrics', { method: 'POST' }, 405],
    ] as const) {
      const response = await fetch(`http://127.0.0.1:${ours.port}${path}`, init);
      assert.equal(response.status, status, path);
      await response.text();
    }
  });
});

describe('the debug socket, as root', { skip, concurrency: 1 }, () => {
  let daemon: Daemon;
  let socket: string;
  before(async () => {
    // Of the shape of the daemon's own paths, and short enough for a socket.
    socket = `/tmp/g-debug-${process.pid}.sock`;
    daemon = await startGantry({ config: `[debug]\naddress = "${socket}"\n` });
  });
  after(() => daemon?.[Symbol.asyncDispose]());

  const get = (path: string): Promise<{ status: number; type: string; body: string }> =>
    new Promise((resolve, reject) => {
      request({ socketPath: socket, path }, (response) => {
        let body = '';
        response.setEncoding('utf8').on('data', (text: string) => {
          body += text;
        });
        response.once('error', reject);
        response.once('end', () =>
          resolve({ status: response.statusCode ?? 0, type: response.headers['content-type'] ?? '', body }),
        );
      })
        .once('error', reject)
        .end();
    });

  /** A call that stays until the callback has ended. */
  async function duringACall<Value>(use: () => Promise<Value>): Promise<Value> {
    await using connection = connectGrpc(daemon.address, { namespace: 'stays' });
    const done = new AbortController();
    const options = { signal: done.signal, timeoutMs: 60_000 };
    const events = connection.client(Events).subscribe({ filters: [] }, options)[Symbol.asyncIterator]();
    const next = events.next();
    next.catch(() => {});
    try {
      await until('the call is in flight', async () =>
        (await get('/debug/calls')).body.includes('Subscribe'),
      );
      return await use();
    } finally {
      done.abort();
      await next.catch(() => {});
    }
  }

  test('is for its owner only', async () => {
    const { mode, uid, gid } = await stat(socket);
    assert.deepEqual([mode & 0o7777, uid, gid], [0o600, 0, 0]);
  });

  test('tells which calls are in flight, since when, until when, and whose', async () => {
    const [page, text] = await duringACall(async () => [
      await get('/debug/state'),
      await get('/debug/pprof/goroutine?debug=2'),
    ]);
    const { calls, pid } = JSON.parse(page.body) as {
      pid: number;
      calls: Record<string, unknown>[];
    };
    assert.equal(pid, daemon.pid);
    const call = calls.find(({ method }) => method === 'containerd.services.events.v1.Events/Subscribe');
    assert.deepEqual(
      [call?.['protocol'], call?.['namespace'], call?.['peer']],
      ['grpc', 'stays', { pid: process.pid, uid: 0, gid: 0 }],
    );
    assert.ok((call?.['ageMs'] as number) >= 0 && (call?.['id'] as number) > 0);
    const left = call?.['deadlineInMs'] as number;
    assert.ok(left > 0 && left <= 60_000, `deadline in ${left}`);
    assert.match(text.body, /1 calls in flight[^]*Events\/Subscribe {2}namespace=stays/);
    // An ended call leaves the list.
    await until('no call is left', async () => (await get('/debug/calls')).body.trim() === '[]');
  });

  test('the state dump tells them too', async () => {
    const file = join(daemon.state, 'gantryd.dump');
    await duringACall(async () => {
      process.kill(daemon.pid, 'SIGUSR1');
      await until('the dump is written', async () => (await readFile(file, 'utf8')).endsWith('}\n'));
    });
    const { calls } = JSON.parse(await readFile(file, 'utf8')) as { calls: Record<string, unknown>[] };
    assert.deepEqual(
      calls.map(({ method, namespace }) => [method, namespace]),
      [['containerd.services.events.v1.Events/Subscribe', 'stays']],
    );
    assert.equal((await stat(file)).mode & 0o7777, 0o600);
  });

  test('gives a CPU profile, one at a time', async () => {
    const first = get('/debug/pprof/profile?seconds=500ms');
    await until('a second one is refused', async () => {
      const { status } = await get('/debug/pprof/profile?seconds=0.001');
      return status === 409;
    });
    const { body, type } = await first;
    const profile = JSON.parse(body) as {
      nodes: unknown[];
      samples: number[];
      startTime: number;
      endTime: number;
    };
    assert.equal(type, 'application/json');
    assert.ok(profile.nodes.length > 0 && profile.samples.length > 0);
    assert.ok(profile.endTime - profile.startTime >= 450_000, 'microseconds');
    assert.equal((await get('/debug/pprof/profile?seconds=0.01')).status, 200);
  });

  test('refuses what it cannot give, with the reason', async () => {
    const answers = await Promise.all(
      [
        '/debug/pprof/profile?seconds=-1',
        '/debug/pprof/profile?seconds=1h',
        '/debug/pprof/trace',
        '/etc/passwd',
      ].map(async (path) => (await get(path)).status),
    );
    assert.deepEqual(answers, [400, 400, 501, 404]);
  });

  test('gives a heap snapshot', async () => {
    const { body } = await get('/debug/pprof/heap');
    const { snapshot, nodes } = JSON.parse(body) as { snapshot: { node_count: number }; nodes: unknown[] };
    assert.ok(snapshot.node_count > 10_000 && nodes.length > snapshot.node_count);
  });

  test('ctr pprof understands it', async () => {
    assert.match(await daemon.ctr('pprof', '--debug-socket', socket, 'goroutines'), /calls in flight/);
  });
});

describe('SIGHUP, as root', { skip, concurrency: 1 }, () => {
  let registry: Registry;
  before(async () => {
    registry = await startRegistry(['busybox']);
  });
  after(() => registry?.[Symbol.asyncDispose]());

  const reload = async (daemon: Daemon, config: string): Promise<string> => {
    const from = (await daemon.log()).length;
    await writeFile(configOf(daemon), config);
    process.kill(daemon.pid, 'SIGHUP');
    await until('the reload is logged', async () =>
      /configuration (not )?reloaded/.test((await daemon.log()).slice(from)),
    );
    return (await daemon.log()).slice(from);
  };

  test('changes the level and the form of the log', async () => {
    await using daemon = await startGantry();
    const loud = await reload(daemon, 'version = 3\n[debug]\nlevel = "debug"\nformat = "json"\n');
    assert.match(loud, /"applied":\["debug\.format","debug\.level"\]/);
    await rejectsWith(connectAndGet(daemon), 'NotFound');
    await until('a failed call is logged', async () => (await daemon.log()).includes('"msg":"call failed"'));
    await reload(daemon, 'version = 3\n');
    const from = (await daemon.log()).length;
    await rejectsWith(connectAndGet(daemon), 'NotFound');
    assert.doesNotMatch((await daemon.log()).slice(from), /call failed/);
  });

  test('changes where hosts are configured', async () => {
    await using daemon = await startGantry();
    const hosts = join(daemon.root, '../certs.d/mirrored.test');
    await mkdir(hosts, { recursive: true });
    await writeFile(join(hosts, 'hosts.toml'), `server = "http://${registry.host}"\n`);
    const pull = () =>
      daemon.ctr.attempt(['images', 'pull', 'mirrored.test/sample/busybox:latest'], { timeoutMs: 60_000 });
    assert.notEqual((await pull()).status, 0);
    const log = await reload(
      daemon,
      `version = 3\n[plugins.'io.containerd.transfer.v1.local']\nconfig_path = "${join(hosts, '..')}"\n`,
    );
    assert.match(log, /applied=.*config_path/);
    const { status, stderr } = await pull();
    assert.equal(status, 0, stderr);
  });

  test('names what waits for the next start, and keeps all when something is wrong', async () => {
    await using daemon = await startGantry();
    const late = await reload(
      daemon,
      'version = 3\n[grpc]\nuid = 7\n[timeouts]\n"io.containerd.timeout.task.state" = "7s"\n' +
        "[plugins.'io.containerd.gc.v1.scheduler']\nmutation_threshold = 7\n",
    );
    const shown = await daemon.ctr('plugins', 'ls', '-d', 'id==scheduler');
    assert.match(shown, /MutationThreshold\s+7/);
    assert.match(late, /level=warning .*needRestart=.*io\.containerd\.server\.v1\.grpc'\.uid/);
    assert.match(late, /applied=.*task\.state/);
    const wrong = await reload(daemon, 'version = 3\n[debug]\nlevel = "loud"\n');
    assert.match(wrong, /level=error .*not reloaded, all settings stay.*must be one of/);
    const torn = await reload(daemon, 'version = 3\n[debug\n');
    assert.match(torn, /not reloaded.*line 2/);
    // The names of what still differs come again.
    const again = await reload(daemon, 'version = 3\n[grpc]\nuid = 7\n');
    assert.match(again, /needRestart=.*grpc'\.uid/);
  });

  const connectAndGet = async (daemon: Daemon): Promise<unknown> => {
    await using connection = connectGrpc(daemon.address, { namespace: 'some' });
    return await connection.client(Containers).get({ id: 'absent' });
  };
});

describe('deprecations, as root', { skip, concurrency: 1 }, () => {
  test('tell of settings and of options of tasks', async () => {
    await using registry = await startRegistry(['busybox']);
    const mirrors = `[plugins.'io.containerd.cri.v1.images'.registry.mirrors.'docker.io']\nendpoint = ["x"]\n`;
    await using daemon = await startGantry({ config: mirrors });
    await using connection = connectGrpc(daemon.address);
    const listed = async (): Promise<string[]> => {
      const { deprecations } = await connection.client(Introspection).server({});
      assert.ok(deprecations.every(({ message, lastOccurrence }) => message !== '' && lastOccurrence));
      return deprecations.map(({ id }) => id.replace('io.containerd.deprecation/', ''));
    };
    assert.deepEqual(await listed(), ['cri-registry-mirrors']);
    await using lab = await TaskLab.open(daemon, registry.reference('busybox'));
    const options = anyToWire(packAny(OptionsSchema, { taskApiVersion: 3 }));
    await lab.create('old', ['sleep', '1'], { options });
    assert.deepEqual(await listed(), ['cri-registry-mirrors', 'runc-options-task-api-version']);
    assert.match(await daemon.ctr('deprecations', 'list'), /cri-registry-mirrors/);
  });
});
