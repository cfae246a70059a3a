/** The service that the transports are tested with: all four kinds of calls, on bytes, and what it saw of them. */
import { create, createFileRegistry } from '@bufbuild/protobuf';
import type { GenService } from '@bufbuild/protobuf/codegenv2';
import {
  type BytesValueSchema,
  FieldDescriptorProto_Label,
  FieldDescriptorProto_Type,
  FileDescriptorProtoSchema,
  file_google_protobuf_wrappers,
} from '@bufbuild/protobuf/wkt';
import type { Context } from '../base/context.ts';
import { ContainerdError, type ErrorCode, notFound } from '../base/errors.ts';
import { type ServedService, serve } from './service.ts';

type Bytes = typeof BytesValueSchema;
export type EchoService = GenService<{
  echo: { methodKind: 'unary'; input: Bytes; output: Bytes };
  count: { methodKind: 'server_streaming'; input: Bytes; output: Bytes };
  join: { methodKind: 'client_streaming'; input: Bytes; output: Bytes };
  chat: { methodKind: 'bidi_streaming'; input: Bytes; output: Bytes };
  missing: { methodKind: 'unary'; input: Bytes; output: Bytes };
}>;

const bytesValue = '.google.protobuf.BytesValue';
const method = (name: string, clientStreaming: boolean, serverStreaming: boolean) => ({
  name,
  inputType: bytesValue,
  outputType: bytesValue,
  clientStreaming,
  serverStreaming,
});

const file = create(FileDescriptorProtoSchema, {
  name: 'test/echo.proto',
  package: 'test',
  syntax: 'proto3',
  dependency: ['google/protobuf/wrappers.proto'],
  messageType: [
    {
      name: 'Unused',
      field: [
        {
          name: 'x',
          number: 1,
          type: FieldDescriptorProto_Type.INT32,
          label: FieldDescriptorProto_Label.OPTIONAL,
        },
      ],
    },
  ],
  service: [
    {
      name: 'Echo',
      method: [
        method('Echo', false, false),
        method('Count', false, true),
        method('Join', true, false),
        method('Chat', true, true),
        method('Missing', false, false),
      ],
    },
  ],
});

export const Echo = createFileRegistry(file, (name) =>
  name === 'google/protobuf/wrappers.proto' ? file_google_protobuf_wrappers : undefined,
).getService('test.Echo') as unknown as EchoService;

export const text = (value: Uint8Array): string => Buffer.from(value).toString();
export const bytes = (value: string): { value: Uint8Array } => ({ value: Buffer.from(value) });

/** The last context and what became of its call. */
export interface Seen {
  ctx: Context | undefined;
  produced: number;
  returned: boolean;
  consumed: number;
}

export function echoService(seen: Seen): ServedService {
  return serve(Echo, {
    echo: async (ctx, request) => {
      seen.ctx = ctx;
      const word = text(request.value);
      if (word.startsWith('fail ')) throw new ContainerdError(word.slice(5) as ErrorCode, 'thing "x"');
      if (word === 'crash') throw new Error('boom');
      if (word === 'wait')
        await new Promise((_resolve, reject) =>
          ctx.signal.addEventListener('abort', () => reject(ctx.signal.reason as Error)),
        );
      return { value: request.value };
    },
    async *count(ctx, request) {
      seen.ctx = ctx;
      seen.produced = 0;
      seen.returned = false;
      try {
        const word = text(request.value);
        const chunk = Buffer.alloc(word === 'big' ? 1024 * 1024 : 8, 1);
        const last = word === 'big' || word === 'forever' ? Number.POSITIVE_INFINITY : Number(word);
        for (let index = 0; index < last; index += 1) {
          seen.produced += 1;
          yield { value: chunk };
        }
        if (word === '3') throw notFound('thing', 'fourth');
      } finally {
        seen.returned = true;
      }
    },
    join: async (ctx, requests) => {
      seen.ctx = ctx;
      const parts: string[] = [];
      for await (const request of requests) {
        parts.push(text(request.value));
        if (parts.at(-1) === 'enough') break;
      }
      return bytes(parts.join(','));
    },
    async *chat(ctx, requests) {
      seen.ctx = ctx;
      seen.returned = false;
      seen.consumed = 0;
      try {
        for await (const request of requests) {
          seen.consumed += 1;
          const word = text(request.value.subarray(0, 8));
          if (word === 'bye') return;
          if (word === 'hold')
            await new Promise((_resolve, reject) =>
              ctx.signal.addEventListener('abort', () => reject(ctx.signal.reason as Error)),
            );
          yield { value: Buffer.from(`re: ${word}`) };
        }
      } finally {
        seen.returned = true;
      }
    },
  });
}
export async function collect(source: AsyncIterable<{ value: Uint8Array }>): Promise<string[]> {
  const out: string[] = [];
  for await (const { value } of source) out.push(text(value));
  return out;
}

export async function* words(...list: string[]): AsyncGenerator<{ value: Uint8Array }, void> {
  for (const word of list) yield bytes(word);
}
