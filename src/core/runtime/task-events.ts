/** The event exchange as shims see it: what they forward passes once. What clients publish is their own business. */
import type { AnyValue } from '../../base/any-value.ts';
import type { Context } from '../../base/context.ts';
import type { Envelope, EventExchange } from '../events/event-exchange.ts';
import { ExitLedger } from './exit-ledger.ts';

export class TaskEventExchange implements EventExchange {
  readonly exits = new ExitLedger();
  readonly #exchange: EventExchange;

  constructor({ exchange }: { readonly exchange: EventExchange }) {
    this.#exchange = exchange;
  }

  publish(ctx: Context, topic: string, event: AnyValue): Promise<void> {
    return this.#exchange.publish(ctx, topic, event);
  }

  /** A repeated exit is taken and goes no further. Errors: InvalidArgument. */
  async forward(ctx: Context, envelope: Envelope): Promise<void> {
    if (this.exits.admit(envelope)) await this.#exchange.forward(ctx, envelope);
    else ctx.log.debug({ topic: envelope.topic, namespace: envelope.namespace }, 'an exit was told twice');
  }

  subscribe(ctx: Context, filters: readonly string[]): AsyncIterable<Envelope> {
    return this.#exchange.subscribe(ctx, filters);
  }
}
