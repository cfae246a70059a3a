/** Containers and tasks by unmodified ctr: ours against the peer. */
import { compareWithPeer, step } from './harness.ts';

const image = 'REGISTRY/sample/busybox:latest';
const pull = step(`images pull --plain-http ${image}`, { compare: 'status' });

const runs: readonly (readonly string[])[] = [
  ['echo', 'hello'],
  ['sh', '-c', 'echo out; echo err >&2; exit 7'],
  ['sh', '-c', 'sleep 100 & kill -9 $!; wait $!'],
  ['sh', '-c', 'ulimit -n; umask; pwd; id; env | sort'],
  ['sh', '-c', 'ls -l /proc/self/fd | wc -l; ls /dev; cat /proc/1/oom_score_adj'],
  ['cat', '/proc/self/mountinfo', '/absent'],
];

const neverRun: readonly string[] = ['no-such-program', '/etc/passwd'];

const flags: readonly (readonly [readonly string[], readonly string[]])[] = [
  [
    ['--env', 'A=b', '--env', 'C=d e'],
    ['sh', '-c', 'echo $A $C $SAMPLE $PATH'],
  ],
  [['--cwd', '/etc'], ['pwd']],
  [['--user', '1000:2000'], ['id']],
  [['--user', 'worker'], ['id']],
  [['--user', 'nobody-here'], ['id']],
  [['--read-only'], ['touch', '/file']],
  [
    ['--mount', 'type=tmpfs,dst=/data,options=size=64k'],
    ['sh', '-c', 'df -k | grep data'],
  ],
  [
    ['--mount', 'type=bind,src=/etc/hostname,dst=/root/name,options=rbind:ro'],
    ['sh', '-c', 'echo x > /root/name'],
  ],
  [['--hostname', 'box'], ['hostname']],
  [['--net-host'], ['sh', '-c', 'ls /sys/class/net | wc -l']],
  [
    ['--memory-limit', '33554432'],
    ['cat', '/proc/self/limits'],
  ],
  [['--cpus', '0.5'], ['true']],
  [['--null-io'], ['echo', 'nobody hears']],
  [['--privileged'], ['sh', '-c', 'grep CapEff /proc/self/status']],
  [
    ['--cap-add', 'CAP_SYS_ADMIN'],
    ['sh', '-c', 'grep CapEff /proc/self/status'],
  ],
  [['--label', 'a=b'], ['true']],
  [
    ['--snapshotter', 'native'],
    ['sh', '-c', 'echo native > /file; cat /file'],
  ],
  [['--runtime', 'io.containerd.absent.v9'], ['true']],
];

compareWithPeer('ctr run', [
  {
    name: 'commands',
    steps: [
      pull,
      ...runs.map((command, index) => ({ args: ['run', '--rm', image, `c${index}`, ...command] })),
      // Only the class: the runtime's own line reaches the client too, for its streams are the container's.
      ...neverRun.map((command, index) => ({
        args: ['run', '--rm', image, `n${index}`, command],
        compare: 'class' as const,
      })),
      step('containers ls'),
      step('tasks ls'),
      step('snapshots ls', { unordered: true }),
    ],
  },
  {
    name: 'flags',
    steps: [
      pull,
      ...flags.map(([flag, command], index) => ({
        args: ['run', '--rm', ...flag, image, `c${index}`, ...command],
      })),
      step('containers ls'),
    ],
  },
  {
    name: 'life of a task',
    steps: [
      pull,
      step(`run -d ${image} life sleep 1000`),
      step(`run -d ${image} life sleep 1000`),
      step('tasks ls', { compare: 'status' }),
      step('containers ls'),
      step('tasks exec --exec-id e1 life echo in the exec'),
      step('tasks exec --exec-id e2 life sh -c exit\\ 9', { compare: 'status' }),
      step('tasks exec --exec-id e3 --user 1000 life id'),
      step('tasks exec --exec-id e4 --cwd /etc life pwd'),
      step('tasks exec --exec-id e5 life no-such-program', { compare: 'class' }),
      step('tasks exec --exec-id e6 absent true'),
      step('tasks pause life'),
      step('tasks exec --exec-id e7 life true'),
      step('tasks resume life'),
      step('tasks metrics life', { compare: 'status' }),
      step('tasks ps life', { compare: 'status' }),
      step('tasks rm life'),
      step('containers rm life'),
      step('tasks kill -s SIGKILL life'),
      step('tasks rm life', { untilStatus: 0, compare: 'status' }),
      step('tasks kill life'),
      step('tasks rm life'),
      step('containers info absent'),
      step('containers rm life'),
      step('containers rm life'),
      step('snapshots ls', { unordered: true }),
    ],
  },
  {
    name: 'containers',
    steps: [
      pull,
      step(`containers create ${image} one true`),
      step(`containers create ${image} one true`),
      step(`containers create ${image} bad/name true`),
      step(`containers create absent:image two true`),
      step('containers ls'),
      step('containers ls -q'),
      step('containers label one a=b', { unordered: true }),
      step('containers ls labels.a==b'),
      step('tasks start one'),
      step('tasks rm one'),
      step('tasks start absent'),
      step('containers rm one'),
    ],
  },
]);
