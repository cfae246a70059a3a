/** Labels by which containerd's CRI knows its images; other clients look at them and set them. */
import type { Labels } from '../base/labels.ts';
import { labelOf } from '../base/labels.ts';

/** On every name that the CRI has given or taken over. */
export const managedLabel = { key: 'io.cri-containerd.image', value: 'managed' } as const;
/** The kubelet does not remove such an image to gain space. */
export const pinnedLabel = { key: 'io.cri-containerd.pinned', value: 'pinned' } as const;

export const isManaged = (labels: Labels): boolean =>
  labelOf(labels, managedLabel.key) === managedLabel.value;
export const isPinned = (labels: Labels): boolean => labelOf(labels, pinnedLabel.key) === pinnedLabel.value;

export const criLabels = ({ pinned }: { readonly pinned: boolean }): Labels => ({
  [managedLabel.key]: managedLabel.value,
  ...(pinned && { [pinnedLabel.key]: pinnedLabel.value }),
});
