/** The labels that steer garbage collection, by containerd's names. */
export const gcLabels = {
  root: 'containerd.io/gc.root',
  expire: 'containerd.io/gc.expire',
  flat: 'containerd.io/gc.flat',
  refPrefix: 'containerd.io/gc.ref.',
  backRefPrefix: 'containerd.io/gc.bref.',
  conditionPrefix: 'containerd.io/gc.cond.snapshot.',
  usedAt: 'containerd.io/gc.cond.value-usedat',
} as const;
