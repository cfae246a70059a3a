/** Signals as images and the kubelet name them (signal(7)). */
import { constants } from 'node:os';
import { invalidArgument } from '../../base/errors.ts';
import { Signal } from '../../wire/gen/runtime/v1/container_pb.js';

const rtMin = 34;
const rtMax = 64;

/** `SIGTERM`, `TERM`, `SIGRTMIN+3`, `15`. Errors: InvalidArgument. */
export function parseSignal(text: string): number {
  const name = text.toUpperCase().replace(/^SIG/, '');
  if (/^[0-9]{1,2}$/.test(name) && Number(name) >= 1 && Number(name) <= rtMax) return Number(name);
  const [, edge, offset = '0'] = /^RT(MIN|MAX)((?:[+-][0-9]{1,2})?)$/.exec(name) ?? [];
  const number =
    edge === undefined
      ? (constants.signals as Readonly<Record<string, number>>)[`SIG${name}`]
      : (edge === 'MIN' ? rtMin : rtMax) + Number(offset || 0);
  if (number === undefined || number < 1 || number > rtMax)
    throw invalidArgument(`stop signal ${JSON.stringify(text)} is none`);
  return number;
}

/** What stops a container: the kubelet's word, else the image's, else SIGTERM. Errors: InvalidArgument. */
export function stopSignalOf(wished: Signal, image: string): string {
  const name = wished === Signal.RUNTIME_DEFAULT ? image || 'SIGTERM' : nameOf(wished);
  parseSignal(name);
  return name.toUpperCase();
}

const nameOf = (signal: Signal): string => (Signal[signal] ?? '').replace('PLUS', '+').replace('MINUS', '-');

/** RUNTIME_DEFAULT for one that the wire has no word for. */
export function signalOfName(name: string): Signal {
  const word = (name.startsWith('SIG') ? name : `SIG${name}`).replace('+', 'PLUS').replace('-', 'MINUS');
  return isWord(word) ? Signal[word] : Signal.RUNTIME_DEFAULT;
}

const isWord = (word: string): word is keyof typeof Signal => Object.hasOwn(Signal, word);
