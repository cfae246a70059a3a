import assert from 'node:assert/strict';
import { test } from 'node:test';
import { create } from '@bufbuild/protobuf';
import { hasCode } from '../base/errors.ts';
import { hostPlatform } from '../oci/platform.ts';
import { buildImage, publish } from '../testing/registry/image-builder.ts';
import { AuthConfigSchema } from '../wire/gen/runtime/v1/image_pb.js';
import { credentialsOf } from './image-auth.ts';
import { ImageServiceFixture } from './image-service.fixture.ts';

const base64 = (text: string): string => Buffer.from(text).toString('base64');
const host = 'registry.example:5000';
const basic = { kind: 'basic', username: 'u', secret: 'p' };
const none = { kind: 'none' };

const cases: readonly (readonly [string, Readonly<Record<string, string>>, unknown])[] = [
  ['user and password', { username: 'u', password: 'p' }, basic],
  ['a user alone', { username: 'u' }, { ...basic, secret: '' }],
  ['both in one', { auth: base64('u:p') }, basic],
  ['a password with colons', { auth: base64('u:p:q') }, { ...basic, secret: 'p:q' }],
  ['a password that is padded', { auth: base64('u:p\0\0') }, basic],
  ['without padding', { auth: base64('u:pp').replaceAll('=', '') }, { ...basic, secret: 'pp' }],
  ['an identity token', { identityToken: 't' }, { kind: 'refresh', token: 't' }],
  ['a registry token', { registryToken: 't' }, { kind: 'header', value: 'Bearer t' }],
  ['the user goes first', { username: 'u', password: 'p', identityToken: 't', auth: 'x' }, basic],
  ['this server', { username: 'u', password: 'p', serverAddress: `https://${host}/v1/` }, basic],
  ['this server without a scheme', { username: 'u', password: 'p', serverAddress: host }, basic],
  ['another server', { username: 'u', password: 'p', serverAddress: 'other.example' }, none],
  ['another port', { username: 'u', password: 'p', serverAddress: 'registry.example' }, none],
  ['no server at all', { username: 'u', password: 'p', serverAddress: 'https://' }, none],
];

for (const [name, auth, expected] of cases)
  test(`credentials: ${name}`, async () => {
    const source = credentialsOf(create(AuthConfigSchema, auth));
    assert.deepEqual(await source?.({ host, reference: '', challenges: [] }), expected);
  });

test('credentials of Docker Hub count by all of its names', async () => {
  const serverAddress = 'https://index.docker.io/v1/';
  const source = credentialsOf(create(AuthConfigSchema, { username: 'u', password: 'p', serverAddress }));
  assert.deepEqual(await source?.({ host: 'registry-1.docker.io', reference: '', challenges: [] }), basic);
});

test('no credentials at all are none to ask for', () => {
  assert.equal(credentialsOf(undefined), undefined);
  assert.equal(credentialsOf(create(AuthConfigSchema, { serverAddress: host })), undefined);
});

test('credentials that cannot be read are refused without being told', async () => {
  for (const auth of [{ auth: base64('secret') }, { auth: 'sec ret' }, { password: 'secret' }])
    await assert.rejects(
      async () => credentialsOf(create(AuthConfigSchema, auth))?.({ host, reference: '', challenges: [] }),
      (error) => hasCode(error, 'InvalidArgument') && !/secret|sec ret|c2Vj/.test(String(error)),
    );
});

const image = buildImage([{ file: 'private' }], { platform: hostPlatform() });

test('a registry that wants user and password gets those of the call, and of no other call', async () => {
  await using fixture = await ImageServiceFixture.make({
    auth: { kind: 'basic', username: 'u', password: 'p' },
  });
  publish(fixture.transfer.remote.storage, 'private', 'v1', image);
  const spec = { image: fixture.reference('private:v1') };
  const refused = (error: unknown): boolean => hasCode(error, 'Unauthenticated');
  await assert.rejects(fixture.client.pullImage({ image: spec }), refused);
  await assert.rejects(
    fixture.client.pullImage({ image: spec, auth: { username: 'u', password: 'wrong' } }),
    refused,
  );
  const elsewhere = { username: 'u', password: 'p', serverAddress: 'other.example' };
  await assert.rejects(fixture.client.pullImage({ image: spec, auth: elsewhere }), refused);
  const { imageRef } = await fixture.client.pullImage({ image: spec, auth: { auth: base64('u:p') } });
  assert.equal(imageRef, image.configDescriptor.digest);
  await assert.rejects(fixture.client.pullImage({ image: spec }), refused);
});

test('a registry that wants tokens takes identity tokens and its own', async () => {
  await using fixture = await ImageServiceFixture.make({
    auth: { kind: 'bearer', username: 'u', password: 'p', refreshToken: 'refresh' },
  });
  const { remote } = fixture.transfer;
  publish(remote.storage, 'private', 'v1', image);
  const spec = { image: fixture.reference('private:v1') };
  const byIdentity = await fixture.client.pullImage({ image: spec, auth: { identityToken: 'refresh' } });
  assert.equal(byIdentity.imageRef, image.configDescriptor.digest);
  const answer = await fetch(
    `http://${remote.host}/token?service=test-registry&scope=repository:private:pull`,
    { headers: { authorization: `Basic ${base64('u:p')}` } },
  );
  const { token } = (await answer.json()) as { token: string };
  const byToken = await fixture.client.pullImage({ image: spec, auth: { registryToken: token } });
  assert.equal(byToken.imageRef, image.configDescriptor.digest);
});
