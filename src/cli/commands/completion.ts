/** `gantry completion bash`: commands and options for the shell, made from the program itself. */
import { Argument, Command } from 'commander';
import type { App } from '../app.ts';

export const completionCommand = (app: App): Command =>
  new Command('completion')
    .summary('print a completion script for the shell')
    .description('Prints a script that completes commands, options and names of containers and images.')
    .addArgument(new Argument('<shell>').choices(['bash']))
    .addHelpText('after', '\nExample:\n  gantry completion bash > /etc/bash_completion.d/gantry')
    .action((_shell: string, _flags: unknown, command: Command) => {
      app.print(bashScript(command.parent ?? command));
    });

const optionsOf = (command: Command): string =>
  [...command.options.map((option) => option.long), '--help'].filter((long) => long !== undefined).join(' ');

/** Names are asked of the daemon where an argument is one; a daemon that is not there completes nothing. */
function namesOf(command: Command): string {
  const kinds = command.registeredArguments.map((argument) => argument.name());
  if (kinds.includes('container')) return '$(gantry ps -aq --no-trunc 2>/dev/null)';
  return kinds.includes('image') ? '$(gantry images -q 2>/dev/null)' : '';
}

export function bashScript(program: Command): string {
  const names = program.commands.map((command) => command.name());
  const cases = program.commands.map(
    (command) => `    ${command.name()}) words="${optionsOf(command)} ${namesOf(command)}" ;;`,
  );
  return `_gantry() {
  local word=\${COMP_WORDS[COMP_CWORD]} command= words= each
  for each in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case $each in
    ${names.join('|')}) command=$each; break ;;
    esac
  done
  case $command in
${cases.join('\n')}
    *) words="${optionsOf(program)} ${names.join(' ')}" ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "$word"))
}
complete -o default -F _gantry gantry
`;
}
