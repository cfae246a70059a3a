/**
 * A mount as snapshotters hand it out (containerd.types.Mount): type, source, mount(8) option words.
 * `target` is a path below the place the list is mounted on, "" for the place itself.
 */
export interface Mount {
  readonly type: string;
  readonly source: string;
  readonly target: string;
  readonly options: readonly string[];
}
