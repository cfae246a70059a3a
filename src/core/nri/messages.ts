/** NRI's messages as callers write them: plain objects, in which what is left out is unset. */
import type { MessageInitShape } from '@bufbuild/protobuf';
import type {
  ContainerEvictionSchema,
  ContainerSchema,
  ContainerUpdateSchema,
  LinuxResourcesSchema,
  PodSandboxSchema,
} from '../../wire/gen/nri/pkg/api/v1alpha1/api_pb.js';

export type NriPod = MessageInitShape<typeof PodSandboxSchema>;
export type NriContainer = MessageInitShape<typeof ContainerSchema>;
export type NriResources = MessageInitShape<typeof LinuxResourcesSchema>;
export type NriUpdate = MessageInitShape<typeof ContainerUpdateSchema>;
export type NriEviction = MessageInitShape<typeof ContainerEvictionSchema>;

/** What has a `-` in front of its key is to be removed. */
export interface Marked {
  readonly key: string;
  readonly isRemoval: boolean;
}

export const unmark = (key: string): Marked =>
  key.startsWith('-') ? { key: key.slice(1), isRemoval: true } : { key, isRemoval: false };
