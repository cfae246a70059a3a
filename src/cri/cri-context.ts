/** All that the CRI has is in one namespace, whatever namespace a call carries: the kubelet names none. */
import { type Context, type NamespacedContext, withNamespace } from '../base/context.ts';
import { parseNamespace } from '../base/identifiers.ts';

const criNamespace = parseNamespace('k8s.io');

export const inCri = (ctx: Context): NamespacedContext => withNamespace(ctx, criNamespace);
