/** Nominal types over primitives: made only by the one parser of each, so inside the house the code trusts them. */
declare const brand: unique symbol;
export type Brand<Value, Name extends string> = Value & { readonly [brand]: Name };
