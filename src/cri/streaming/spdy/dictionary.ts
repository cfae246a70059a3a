/**
 * The dictionary that both sides of SPDY/3.1 begin their header compression with (SPDY protocol draft 3.1, section
 * 2.6.10.1): words of HTTP, each behind its length in 32 bits, then the rest without lengths.
 */
const words =
  'options|head|post|put|delete|trace|accept|accept-charset|accept-encoding|accept-language|' +
  'accept-ranges|age|allow|authorization|cache-control|connection|content-base|content-encoding|' +
  'content-language|content-length|content-location|content-md5|content-range|content-type|date|' +
  'etag|expect|expires|from|host|if-match|if-modified-since|if-none-match|if-range|' +
  'if-unmodified-since|last-modified|location|max-forwards|pragma|proxy-authenticate|' +
  'proxy-authorization|range|referer|retry-after|server|te|trailer|transfer-encoding|upgrade|' +
  'user-agent|vary|via|warning|www-authenticate|method|get|status|200 OK|version|HTTP/1.1|url|' +
  'public|set-cookie|keep-alive|origin';

const rest =
  '100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505203 N' +
  'on-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized4' +
  '03 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service UnavailableJan' +
  ' Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTch' +
  'unked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,' +
  'text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,en' +
  'q=0.';

/** 1423 bytes; their Adler-32 sum, 0xe3c6a7c2, is the dictionary's name in a zlib stream. */
export const spdyDictionary: Buffer = Buffer.concat([
  ...words.split('|').map((word) => {
    const entry = Buffer.alloc(4 + word.length, word.padStart(4 + word.length), 'latin1');
    entry.writeUInt32BE(word.length);
    return entry;
  }),
  Buffer.from(rest, 'latin1'),
]);
