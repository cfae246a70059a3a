/** Exit status of a wait(2) status by the convention of shells and runtimes: the code, or 128 + signal. */
export function statusOfWait(wait: number): number {
  const signal = wait & 0x7f;
  return signal === 0 ? (wait >> 8) & 0xff : 128 + signal;
}
