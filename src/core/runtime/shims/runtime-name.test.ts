import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { isBuiltIn, shimBinary } from './runtime-name.ts';

void test('a runtime is a name or a path, and what is not there is told in the words of containerd', (t) => {
  const beside = mkdtempSync(join(tmpdir(), 'gantry-runtime-'));
  t.after(() => rmSync(beside, { recursive: true }));
  const shim = join(beside, 'containerd-shim-gantrytest-v7');
  writeFileSync(shim, '#!/bin/sh\n');
  assert.throws(() => shimBinary('io.containerd.gantrytest.v7', { beside }), /binary not installed/);
  chmodSync(shim, 0o755);
  assert.equal(shimBinary('io.containerd.gantrytest.v7', { beside }), shim);
  assert.equal(shimBinary('gantrytest.v7', { beside }), shim);
  assert.equal(shimBinary(shim, { beside: '/absent' }), shim);
  assert.throws(() => shimBinary('io.containerd.absent.v9', { beside }), {
    code: 'Unknown',
    message:
      'failed to resolve runtime path: runtime "io.containerd.absent.v9" binary not installed ' +
      '"containerd-shim-absent-v9": file does not exist',
  });
  assert.throws(() => shimBinary('/absent/shim', { beside }), {
    code: 'Unknown',
    message:
      'failed to resolve runtime path: invalid custom binary path: stat /absent/shim: no such file or directory',
  });
  chmodSync(shim, 0o644);
  assert.throws(() => shimBinary(shim, { beside }), /invalid custom binary path: .* is not executable/);
  for (const name of ['', 'runc', '.runc.v2', 'io.containerd.../../bin/sh.v1', 'a/containerd-shim-runc-v2'])
    assert.throws(
      () => shimBinary(name, { beside }),
      { code: 'Unknown', message: /: invalid runtime name/ },
      name,
    );
  for (const name of ['io..v2', 'io.containerd.'])
    assert.throws(() => shimBinary(name, { beside }), /binary not installed/, name);
});

void test('the names that share our shim', () => {
  assert.ok(isBuiltIn('io.containerd.runc.v2'));
  assert.ok(isBuiltIn('io.containerd.gantry.v1'));
  assert.ok(!isBuiltIn('/usr/bin/containerd-shim-runc-v2'));
});
