/** What the tests of the stores beside make, and how they look at it. */
import assert from 'node:assert/strict';
import { fromBinary, type Message } from '@bufbuild/protobuf';
import type { GenMessage } from '@bufbuild/protobuf/codegenv2';
import { digestOf } from '../../base/digest.ts';
import { parseContainerId, parseImageName } from '../../base/identifiers.ts';
import type { NewContainer } from '../containers/container-store.ts';
import type { NewImage } from '../images/image-store.ts';
import type { StoreFixture } from './store.fixture.ts';

export function lastEvent<Shape extends Message>(fixture: StoreFixture, schema: GenMessage<Shape>): Shape {
  const event = fixture.events.published.at(-1)?.event;
  assert.equal(event?.typeUrl, schema.typeName);
  return fromBinary(schema, event?.value ?? new Uint8Array());
}

export const digest = digestOf('x');
export const newImage = (name: string, more: Partial<NewImage> = {}): NewImage => ({
  name: parseImageName(name),
  target: { mediaType: 'application/x', digest, sizeBytes: 3 },
  labels: {},
  ...more,
});

export const spec = { typeUrl: 'spec', value: new Uint8Array([0, 255, 1]) };
export const newContainer = (id: string, more: Partial<NewContainer> = {}): NewContainer => ({
  id: parseContainerId(id),
  labels: {},
  image: 'img',
  runtime: { name: 'io.containerd.runc.v2', options: { typeUrl: 'o', value: new Uint8Array([7]) } },
  spec,
  snapshotter: 'records',
  snapshotKey: id,
  extensions: {},
  sandbox: '',
  ...more,
});
