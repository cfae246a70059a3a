/** The event exchange as shims see it: what they forward passes once. What clients publish is their own business. */
import type { AnyValue } from '../../../base/any-value.ts';
import type { Context } from '../../../base/context.ts';
import type { Envelope, EventExchange } from '../../events/event-exchange.ts';
import type { ExitJournal } from './exit-journal.ts';
import { ExitLedger } from './exit-ledger.ts';

export class TaskEventExchange implements EventExchange {
  readonly exits = new ExitLedger();
  readonly #exchange: EventExchange;
  readonly #journal: ExitJournal;

  constructor({ exchange, journal }: { readonly exchange: EventExchange; readonly journal: ExitJournal }) {
    this.#exchange = exchange;
    this.#journal = journal;
    for (const event of journal.events())
      try {
        this.exits.admit(event);
      } catch {
        // Not one of ours: what it would have told is told again.
      }
  }

  publish(ctx: Context, topic: string, event: AnyValue): Promise<void> {
    return this.#exchange.publish(ctx, topic, event);
  }

  /** A repeated exit is taken and goes no further. Errors: InvalidArgument. */
  async forward(ctx: Context, envelope: Envelope): Promise<void> {
    const { topic, namespace } = envelope;
    if (!this.exits.admit(envelope)) {
      ctx.log.debug({ topic, namespace }, 'an end was told twice');
      return;
    }
    await this.#exchange.forward(ctx, envelope);
    try {
      // Afterwards: killed in between, we rather tell it twice than never.
      this.#journal.note(envelope);
    } catch (error) {
      ctx.log.warn(
        { error, topic, namespace },
        'an event could not be noted; another daemon may tell it again',
      );
    }
  }

  subscribe(ctx: Context, filters: readonly string[]): AsyncIterable<Envelope> {
    return this.#exchange.subscribe(ctx, filters);
  }
}
