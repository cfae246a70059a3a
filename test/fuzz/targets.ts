/** Every target: one for each parser of bytes that come from outside. */
import type { FuzzTarget } from './fuzz-target.ts';
import { challenge } from './targets/challenge.fuzz.ts';
import { gzip, zstd } from './targets/compression.fuzz.ts';
import { config } from './targets/config.fuzz.ts';
import { digest } from './targets/digest.fuzz.ts';
import { fieldMask } from './targets/field-mask.fuzz.ts';
import { filter } from './targets/filter.fuzz.ts';
import { grpcFrame, grpcHeaders, grpcPacked } from './targets/grpc.fuzz.ts';
import { hostsToml } from './targets/hosts-toml.fuzz.ts';
import { imageConfig } from './targets/image-config.fuzz.ts';
import { logUri } from './targets/log-uri.fuzz.ts';
import { index, manifest } from './targets/manifest.fuzz.ts';
import { mountFormat } from './targets/mount-format.fuzz.ts';
import { nriMux } from './targets/mux.fuzz.ts';
import { reference } from './targets/reference.fuzz.ts';
import { registryAnswer } from './targets/registry-answer.fuzz.ts';
import { shimAnswer, shimBootstrap } from './targets/shim.fuzz.ts';
import { tar } from './targets/tar.fuzz.ts';
import { instant, timestamp } from './targets/time.fuzz.ts';
import { ttrpcFrame, ttrpcRequest } from './targets/ttrpc.fuzz.ts';
import { duration, platform, user } from './targets/words.fuzz.ts';

export const targets: readonly FuzzTarget[] = [
  ...[reference, digest, filter, fieldMask, platform, duration, timestamp, instant, user],
  ...[manifest, index, imageConfig, tar, gzip, zstd],
  ...[config, hostsToml, challenge, registryAnswer],
  ...[ttrpcFrame, ttrpcRequest, nriMux, grpcFrame, grpcPacked, grpcHeaders],
  ...[logUri, mountFormat, shimAnswer, shimBootstrap],
];
