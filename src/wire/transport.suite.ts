/** What every protocol must do, with a service of its own that has all four kinds of calls. Run by both of them. */
import { describe } from 'node:test';
import type { ProtocolUnderTest } from './transport.fixture.ts';
import { transportCallsSuite } from './transport-calls.suite.ts';
import { transportEndsSuite } from './transport-ends.suite.ts';
import { transportStreamsSuite } from './transport-streams.suite.ts';

export function transportSuite(name: string, protocol: ProtocolUnderTest): void {
  describe(`${name} transport`, () => {
    transportCallsSuite(protocol);
    transportStreamsSuite(protocol);
    transportEndsSuite(protocol);
  });
}
