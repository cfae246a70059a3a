/** IP addresses as text: their family, which is all that is asked of them here. */

const octet = '(?:25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)';
const version4 = new RegExp(`^${octet}(?:\\.${octet}){3}$`);

/** Undefined for what is no address. */
export function familyOf(text: string): 4 | 6 | undefined {
  if (version4.test(text)) return 4;
  // RFC 4291; the parser of URLs reads it between brackets and takes nothing else there.
  return /^[0-9A-Fa-f:.]{2,45}$/.test(text) && URL.canParse(`http://[${text}]/`) ? 6 : undefined;
}

/** `ADDRESS/PREFIX`, taken apart. Undefined for what is none. */
export function parsePrefix(
  text: string,
): { readonly address: string; readonly family: 4 | 6; readonly prefixLength: number } | undefined {
  const [address = '', prefix = '', ...more] = text.split('/');
  const family = familyOf(address);
  if (family === undefined || more.length > 0 || !/^\d{1,3}$/.test(prefix)) return undefined;
  const prefixLength = Number(prefix);
  return prefixLength > (family === 4 ? 32 : 128) ? undefined : { address, family, prefixLength };
}
