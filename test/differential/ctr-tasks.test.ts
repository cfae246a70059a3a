/** Containers and tasks in the wrong state, and what is asked of running ones, by unmodified ctr: ours against the peer. */
import { compareWithPeer, step } from './harness.ts';

const image = 'REGISTRY/sample/busybox:latest';
const pull = step(`images pull --plain-http ${image}`, { compare: 'status' });

/** The peer's shim gives these errors no class; ours says that the state is wrong. */
const stateUnnamed = { compare: 'status' } as const;

compareWithPeer('ctr tasks and containers', [
  {
    name: 'a running task',
    steps: [
      pull,
      step(`run -d ${image} live sleep 1000`),
      step('tasks ps live', { compare: 'shape' }),
      step('tasks metrics live', { compare: 'shape' }),
      // What is 0 is left out, and which figures are 0 is chance.
      step('tasks metrics --format json live', { compare: 'status' }),
      step('tasks metrics --format nonsense live'),
      step('tasks ls', { compare: 'shape' }),
      step('tasks ls -q'),
      step('containers rm live'),
      step('tasks rm live'),
      step('tasks start live'),
      step('tasks exec --exec-id live live true'),
      step('tasks exec --exec-id e/1 live true'),
      step('tasks exec live true'),
      // Ours has runc's own line on the process's stderr too, for that stream is the process's own.
      step('tasks exec --exec-id e2 live', { compare: 'status' }),
      step('tasks kill -s NONSENSE live'),
      step('tasks kill --exec-id absent live', { compare: 'class' }),
      step('tasks rm --exec-id absent live', { compare: 'class' }),
      step('tasks pause live'),
      step('tasks pause live', stateUnnamed),
      step('tasks ls', { compare: 'shape' }),
      step('tasks resume live'),
      step('tasks resume live', stateUnnamed),
      step('tasks rm -f live', { compare: 'status' }),
      step('tasks kill live'),
      step('tasks exec --exec-id e3 live true'),
      step('tasks ps live'),
      step('tasks metrics live'),
      step('tasks pause live'),
      step('tasks attach live'),
      step('containers rm live'),
    ],
  },
  {
    name: 'an ended task',
    steps: [
      pull,
      step(`run -d ${image} ended true`),
      step('tasks ls', { compare: 'status' }),
      // Until it has ended.
      step('tasks exec --exec-id e1 ended true', { untilStatus: 1, compare: 'status' }),
      step('tasks exec --exec-id e2 ended true', stateUnnamed),
      step('tasks kill ended', { compare: 'class' }),
      step('tasks ps ended', { compare: 'class' }),
      step('tasks pause ended', stateUnnamed),
      step('tasks metrics ended', { compare: 'shape' }),
      step('tasks start ended', { compare: 'class' }),
      step('tasks rm ended'),
      step('tasks rm ended'),
      step('containers rm ended'),
    ],
  },
  {
    name: 'records',
    steps: [
      pull,
      step(`containers create ${image} one true`),
      step('containers info one', { compare: 'shape' }),
      step('containers info --spec one'),
      step('containers label one a=b c=d', { unordered: true }),
      step('containers label one a=', { unordered: true }),
      { args: ['containers', 'label', 'one', `long=${'v'.repeat(4100)}`] },
      step('containers label absent a=b'),
      step('containers ls'),
      step('containers ls id==one'),
      // The peer says the class of the error twice.
      step('containers ls bad===', { compare: 'class' }),
      step('tasks ps one'),
      step('tasks kill one'),
      step('tasks exec --exec-id e one true'),
      step('tasks rm one'),
      step('tasks metrics one'),
      step('tasks attach one'),
      step('containers checkpoint one checkpoint:1', { compare: 'status' }),
      step('containers checkpoint --task one checkpoint:2', { compare: 'class' }),
      step('containers restore two absent:checkpoint'),
      step(`containers create --snapshotter absent ${image} two true`),
      step(`containers create --runtime io.containerd.absent.v9 ${image} three true`),
      step('tasks start three'),
      step(`containers create ${image} ${'i'.repeat(77)} true`),
      step(`containers create ${image} .bad true`),
      step(`run --rm ${image} one true`),
      step('run --rm absent:image four true'),
      step('containers rm --keep-snapshot one'),
      step('snapshots ls', { unordered: true }),
      step(`containers create ${image} one true`),
      step('snapshots rm one'),
      step('containers rm one three'),
      step('containers rm'),
      step('containers ls -q'),
    ],
  },
]);
