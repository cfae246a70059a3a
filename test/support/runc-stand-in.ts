/**
 * runc with a checkpoint and a restore that need no CRIU, which does not run on every kernel: the dump is a directory
 * with the words it was asked for, and restore runs the bundle afresh once it has found a dump where it was told to
 * look. Everything else is the real runc's. Each call is a line in `calls`.
 */
import { chmod, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

export interface RuncStandIn {
  readonly path: string;
  /** The words of each call of the subcommand, without the global ones. */
  calls(subcommand: string): Promise<string[][]>;
  /** Checkpoints do not come to their end until this is disposed of. */
  hold(): Promise<AsyncDisposable>;
}

const script = `#!/bin/sh
here=\${0%/*}
flags= words= image= running= id= pid_file= bundle= console= no_pivot=
while [ $# -gt 0 ]; do
  case $1 in
    --root|--log|--log-format) flags="$flags $1 $2"; shift 2 ;;
    --systemd-cgroup|--debug) flags="$flags $1"; shift ;;
    *) break ;;
  esac
done
echo "$@" >>"$here/calls"
case $1 in
  checkpoint|restore) subcommand=$1 words="$*"; shift ;;
  *) exec runc $flags "$@" ;;
esac
while [ $# -gt 0 ]; do
  case $1 in
    --image-path) image=$2; shift 2 ;;
    --pid-file) pid_file=$2; shift 2 ;;
    --bundle) bundle=$2; shift 2 ;;
    --console-socket) console="--console-socket $2"; shift 2 ;;
    --work-path|--parent-path|--empty-ns|--manage-cgroups-mode) shift 2 ;;
    --leave-running) running=yes; shift ;;
    --no-pivot) no_pivot=--no-pivot; shift ;;
    --*) shift ;;
    *) id=$1; shift ;;
  esac
done
case $subcommand in
  checkpoint)
    while [ -e "$here/hold" ]; do sleep 0.02; done
    mkdir -p "$image/fdinfo" && echo "$words" >"$image/inventory.img" && echo "$id" >"$image/core-1.img" &&
      head -c 100000 /dev/zero >"$image/pages-1.img" && ln "$image/core-1.img" "$image/fdinfo/1.img" || exit 1
    [ -n "$running" ] || runc $flags kill "$id" KILL
    ;;
  restore)
    [ -s "$image/core-1.img" ] && [ "$(stat -c %s "$image/pages-1.img")" = 100000 ] || {
      echo "no dump in $image" >&2
      exit 1
    }
    cp "$image/core-1.img" "$here/restored"
    exec runc $flags run --detach --bundle "$bundle" --pid-file "$pid_file" $console $no_pivot "$id"
    ;;
esac
`;

/** In a directory that becomes its own. */
export async function makeRuncStandIn(directory: string): Promise<RuncStandIn> {
  await mkdir(directory, { recursive: true });
  const path = join(directory, 'runc-without-criu');
  await writeFile(path, script);
  await chmod(path, 0o755);
  return {
    path,
    calls: async (subcommand) =>
      (await readFile(join(directory, 'calls'), 'utf8').catch(() => ''))
        .split('\n')
        .map((line) => line.split(' '))
        .filter(([first]) => first === subcommand),
    hold: async () => {
      const file = join(directory, 'hold');
      await writeFile(file, '');
      return { [Symbol.asyncDispose]: () => rm(file, { force: true }) };
    },
  };
}
