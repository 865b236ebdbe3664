/** A text as one word of a POSIX shell. */
export const quoteForShell = (text: string): string => `'${text.replaceAll("'", `'\\''`)}'`;

/** A text as one word of PowerShell. It takes typographic apostrophes for ends of texts, too. */
export const quoteForPowerShell = (text: string): string => `'${text.replaceAll(/['\u2018-\u201b]/g, '$&$&')}'`;

export interface CopyCommand {
  /** The `s3://` address of a folder or a file. */
  from: string;
  isFolder: boolean;
  credentials: { region: string; accessKeyId: string; secretAccessKey: string; sessionToken: string };
}

/** What `aws s3 cp` writes: a folder of the same name, or a file in the current folder. */
function targetOf({ from, isFolder }: CopyCommand): string {
  if (!isFolder) return '.';
  const name = from.replace(/\/$/, '').replace(/^.*\//s, '');
  return `./${name}/`;
}

const variablesOf = ({ credentials }: CopyCommand): [string, string][] => [
  ['AWS_ACCESS_KEY_ID', credentials.accessKeyId],
  ['AWS_SECRET_ACCESS_KEY', credentials.secretAccessKey],
  ['AWS_SESSION_TOKEN', credentials.sessionToken],
  ['AWS_REGION', credentials.region],
];

/** The command for Linux and macOS. The credentials are set for this command only. */
export function commandForShell(command: CopyCommand): string {
  const variables = variablesOf(command).map(([name, value]) => `${name}=${quoteForShell(value)} \\\n`);
  const recursive = command.isFolder ? ' --recursive' : '';
  return `${variables.join('')}aws s3 cp ${quoteForShell(command.from)} ${quoteForShell(targetOf(command))}${recursive}`;
}

/** The command for PowerShell. The variables stay until the window closes. */
export function commandForPowerShell(command: CopyCommand): string {
  const variables = variablesOf(command).map(([name, value]) => `$Env:${name} = ${quoteForPowerShell(value)}\n`);
  const recursive = command.isFolder ? ' --recursive' : '';
  const words = [command.from, targetOf(command)].map(quoteForPowerShell).join(' ');
  return `${variables.join('')}aws s3 cp ${words}${recursive}`;
}
