/** What inflates one member (gzip, RFC 1952) or frame (zstd, RFC 8878) after the other, synchronously. */
export interface MemberStep {
  readonly consumedBytes: number;
  readonly producedBytes: number;
  /** The member is over, and its check value held. */
  readonly isFinished: boolean;
}

export interface MemberEngine extends Disposable {
  readonly name: string;
  /** A new member comes. */
  begin(): void;
  /**
   * Takes of `input` from `at` to `end` and fills `output` from its start. Neither buffer may move or be shared
   * memory. Errors: InvalidArgument for damaged input.
   */
  step(input: Buffer, at: number, end: number, output: Buffer): MemberStep;
}
