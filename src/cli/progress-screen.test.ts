import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ProgressScreen } from './progress-screen.ts';

/** A terminal that only knows the codes that the screen may use. */
class FakeTerminal {
  readonly columns = 40;
  readonly rows = 5;
  readonly lines: string[] = [''];
  #row = 0;

  write(text: string): void {
    // oxlint-disable-next-line no-control-regex -- escape sequences are made of them
    for (const token of text.match(/\u001b\[\??\d*[a-zA-Z]|\n|\r|[^\u001b\n\r]+/g) ?? []) {
      if (token === '\n') {
        this.#row += 1;
        this.lines[this.#row] ??= '';
      } else if (token.endsWith('A')) this.#row -= Number(token.slice(2, -1));
      else if (token.endsWith('K')) this.lines[this.#row] = '';
      else if (token.endsWith('J')) this.lines.length = this.#row + 1;
      else if (!token.startsWith('\u001b') && token !== '\r') this.lines[this.#row] += token;
      assert.ok(this.#row >= 0, 'moved above the first line');
    }
  }
}

test('frames are drawn over each other and the last one stays', () => {
  const terminal = new FakeTerminal();
  let frame = ['one', 'two'];
  {
    using _screen = new ProgressScreen({ terminal, frame: () => frame });
    assert.deepEqual(terminal.lines, ['one', 'two', '']);
    frame = ['ONE', 'TWO', 'THREE'];
  }
  assert.deepEqual(terminal.lines, ['ONE', 'TWO', 'THREE', '']);
});

test('of a frame that is higher than the terminal the end is shown', () => {
  const terminal = new FakeTerminal();
  {
    using _screen = new ProgressScreen({ terminal, frame: () => ['1', '2', '3', '4', '5', '6'] });
  }
  assert.deepEqual(terminal.lines, ['3', '4', '5', '6', '']);
});
